"""The type of TorchWord2Vec, by which it can answer for gensim's class while it stands in its place (patch.py)."""

from __future__ import annotations

from abc import ABCMeta
from typing import Any


class StandIn(ABCMeta):
    """A class of this type counts another class's instances and subclasses as its own while `_stands_for` names it.

    A program that asks `isinstance(model, gensim.models.Word2Vec)` means FastText and Doc2Vec models too, and models
    that it made before gensim was patched. From ABCMeta, not from type, so that `class Mine(Word2Vec, SomeABC)` works.
    """

    def __instancecheck__(cls, instance: Any) -> bool:
        return super().__instancecheck__(instance) or isinstance(instance, cls.__dict__.get("_stands_for", ()))

    def __subclasscheck__(cls, subclass: type) -> bool:
        return super().__subclasscheck__(subclass) or issubclass(subclass, cls.__dict__.get("_stands_for", ()))
