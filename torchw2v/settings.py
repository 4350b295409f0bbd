"""Checks of the constructor's arguments: what gensim would crash on, hang on or silently train nothing with."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable
from numbers import Real
from typing import Any, SupportsIndex, TypeVar

from torchw2v.errors import SettingError, SettingTypeError

Constructor = TypeVar("Constructor", bound=Callable[..., None])

_BEFORE_GENSIM_4 = {"size": "vector_size", "iter": "epochs"}
_LEAST = {"vector_size": 1, "window": 1, "negative": 0, "workers": 1}
_USUAL = {"vector_size": 100, "epochs": 5, "min_count": 5, "sample": 0.001, "seed": 1}


def naming_what_was_meant(constructor: Constructor) -> Constructor:
    """Make a constructor refuse unknown arguments by name, with the cure; a TypeError, as Python's own.

    Raises
    ------
    SettingTypeError (a TypeError)
        By the constructor, for an argument that it does not have.
    """
    known = [name for name in inspect.signature(constructor).parameters if name != "self"]

    @functools.wraps(constructor)
    def checked(self: Any, *args: Any, **settings: Any) -> None:
        for name in settings:
            if name not in known:
                alike = difflib.get_close_matches(name, known, n=1)
                cure = f"did you mean {alike[0]!r}?" if alike else "neither gensim nor torchw2v has it"
                if name in _BEFORE_GENSIM_4:
                    cure = f"since gensim 4 it is {_BEFORE_GENSIM_4[name]!r}"
                raise SettingTypeError(
                    f"{constructor.__qualname__}() got an unexpected keyword argument {name!r}; {cure}"
                )
        constructor(self, *args, **settings)

    return checked  # type: ignore[return-value]


def check_types(**settings: Any) -> None:
    """Refuse what gensim computes with as it is and would fail on somewhere: text and, for sizes, fractions.

    Raises
    ------
    SettingTypeError (a TypeError)
        As gensim's errors are.
    """
    for name, value in settings.items():
        whole = name in ("vector_size", "epochs")
        if isinstance(value, str | bytes) or (whole and not isinstance(value, SupportsIndex | None)):
            number = "whole number" if whole else "number"
            raise SettingTypeError(
                f"{name}={value!r} is a {type(value).__name__}, not a {number}; give {name}={_USUAL[name]}, say"
            )


def check_sizes(model: Any) -> None:
    """Refuse sizes that are no whole numbers or out of range, and switches that are neither 0 nor 1.

    Raises
    ------
    SettingError (a ValueError)
        Out of range, or text that is no number.
    SettingTypeError (a TypeError)
        Not a number at all.
    """
    for name, least in _LEAST.items():
        number = _whole(model, name, f"{name} >= {least}")
        if not least <= number < 2**31:
            raise SettingError(
                f"{name}={getattr(model, name)!r} is out of range; give {name} >= {least} (and below 2**31)"
            )
    for name in ("sg", "hs"):
        _whole(model, name, f"{name}=0 or {name}=1")


def _whole(model: Any, name: str, cure: str) -> int:
    value = getattr(model, name)
    try:
        return int(value)
    except (TypeError, ValueError) as error:
        kind = SettingTypeError if isinstance(error, TypeError) else SettingError
        raise kind(f"{name}={value!r} is not a whole number; give {cure}") from error


def check_numbers(model: Any) -> None:
    """Refuse numbers that would make NaN of the vectors, or of the chance that a word is kept.

    Raises
    ------
    SettingError (a ValueError)
        A number is not finite, or `sample` is negative.
    """
    for name in ("alpha", "min_alpha", "ns_exponent", "sample"):
        value = getattr(model, name, None)  # a model of an old gensim may lack one
        if isinstance(value, Real) and not math.isfinite(value):
            raise SettingError(f"{name}={value!r} is out of range; give a finite number")
    if isinstance(model.sample, Real) and model.sample < 0:
        raise SettingError(f"sample={model.sample!r} is out of range; give a finite number, not below 0")
