"""Word vectors for TensorBoard's projector: a folder that `tensorboard --logdir` shows in three dimensions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Iterable, Sequence

from gensim.models import KeyedVectors

from torchw2v.errors import NothingToPlotError, SettingError
from torchw2v.keys import rows_of


def export_projector(
    vectors: KeyedVectors,
    log_dir: str | os.PathLike[str],
    *,
    words: Iterable[Hashable] | None = None,
    attributes: Sequence[str] = ("count",),
    tag: str = "word2vec",
) -> None:
    """Write vectors, their words and words' attributes for TensorBoard's projector (extra `tensorboard`).

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        `model.wv`, `model.output_vectors`, loaded ones.
    log_dir : path
        A folder, which may hold the scalars of a `TensorBoardWriter` as well. A crash leaves each file that was there
        whole, and the list of what the projector shows is written last.
    words : iterable of keys, optional
        Only these. The projector runs in a browser: some ten thousand are a good number.
    attributes : sequence of str
        Word attributes (`vectors.expandos`) shown beside the words; those that the vectors lack are left out.
    tag : str
        The name of this set of vectors.

    Raises
    ------
    ImportError
        The package tensorboard is missing.
    NothingToPlotError (a ValueError)
        There are no words.
    UnknownKeyError (a KeyError)
        A word has no vector.
    SettingError (a ValueError)
        A word holds a tab or a line break, which the projector's file cannot have.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError("export_projector() needs tensorboard: pip install 'torchw2v[tensorboard]'") from error
    keys = list(vectors.index_to_key if words is None else words)
    if not keys:
        raise NothingToPlotError("there are no words to export")
    rows = rows_of(vectors, keys)
    broken = [key for key in keys if set("\t\n\r") & set(str(key))]
    if broken:
        raise SettingError(f"words with tabs or line breaks cannot be exported (first: {broken[:5]}); leave them out")
    shown = [name for name in attributes if name in vectors.expandos]
    columns = [[str(key) for key in keys], *([str(value) for value in vectors.expandos[name][rows]] for name in shown)]
    folder = os.fspath(log_dir)
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".projector-", dir=folder) as workplace:
        with SummaryWriter(workplace) as writer:
            if shown:
                table = [list(line) for line in zip(*columns, strict=True)]
                writer.add_embedding(vectors.vectors[rows], table, tag=tag, metadata_header=["word", *shown])
            else:
                writer.add_embedding(vectors.vectors[rows], columns[0], tag=tag)
        _move_files(workplace, folder)


def _move_files(workplace: str, folder: str) -> None:
    """Put all files of one folder in their places in another; those at its top, which name the others, last."""
    for place, _, files in os.walk(workplace, topdown=False):
        target = os.path.normpath(os.path.join(folder, os.path.relpath(place, workplace)))
        os.makedirs(target, exist_ok=True)
        for file in files:
            os.replace(os.path.join(place, file), os.path.join(target, file))
