"""`model.wv`: gensim's KeyedVectors, whose files are written atomically."""

from __future__ import annotations

import copyreg
import logging
import os
from contextlib import ExitStack
from typing import Any

from gensim.models import KeyedVectors

from torchw2v.atomic import atomic_write

logger = logging.getLogger(__name__)


class ModelVectors(KeyedVectors):
    """What a model of ours holds as `wv`. Files, pickles and copies of it are gensim's KeyedVectors."""

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        """As KeyedVectors, so that no file asks its reader for torchw2v."""
        return copyreg._reconstructor, (KeyedVectors, object, None), self.__dict__  # type: ignore[attr-defined]

    def add_vector(self, key: Any, vector: Any) -> int:
        """As gensim's, which goes on using the norms of before."""
        row = super().add_vector(key, vector)
        self.norms = None
        return row

    def add_vectors(self, keys: Any, weights: Any, extras: Any = None, replace: bool = False) -> None:
        """As gensim's, which goes on using the norms of before, and leaves new keys without counts.

        A model that was saved so could not be loaded. New keys get a count of 0, as from `add_vector`.
        """
        super().add_vectors(keys, weights, extras, replace)
        self.norms = None
        self.allocate_vecattrs()

    def __str__(self) -> str:
        """As KeyedVectors."""
        return super().__str__().replace(type(self).__name__, KeyedVectors.__name__, 1)

    def save_word2vec_format(  # gensim's signature
        self, fname: Any, fvocab: Any = None, binary: bool = False, total_vec: int | None = None,
        write_header: bool = True, prefix: str = "", append: bool = False, sort_attr: str = "count",
    ) -> None:  # fmt: skip
        """As gensim's, atomically: a crash or a full disk leaves what was there before.

        With append=True gensim's routine goes on writing in the file itself, and so it does in open files.
        """
        files = {"fname": fname, "fvocab": fvocab}
        with ExitStack() as until_written:
            for name, path in files.items():
                if isinstance(path, str | os.PathLike) and not append:
                    files[name] = until_written.enter_context(atomic_write(path))
            super().save_word2vec_format(
                **files, binary=binary, total_vec=total_vec, write_header=write_header, prefix=prefix, append=append,
                sort_attr=sort_attr,
            )  # fmt: skip
        logger.info("%s is in place", fname)

    def _smart_save(
        self, fname: Any, separately: Any = None, sep_limit: int = 10 * 1024**2, ignore: Any = frozenset(),
        pickle_protocol: int = 4,
    ) -> None:  # fmt: skip
        """As gensim's, which `save` calls for a path, atomically."""
        with atomic_write(fname) as temporary:
            super()._smart_save(temporary, separately, sep_limit, ignore, pickle_protocol)
        logger.info("%s is in place", fname)


def adopt(vectors: Any) -> Any:
    """The same object, as a ModelVectors if it is a plain KeyedVectors."""
    if type(vectors) is KeyedVectors:
        vectors.__class__ = ModelVectors
    return vectors
