"""Writing files so that a crash leaves the old ones whole: written beside them first, put in their place at the end.

One file takes the place of another in one step. Several files (a model and its `.npy` side files) cannot: they are
first complete in a folder `.NAME.commit` beside the model. From then on the new model is the saved one, and moving its
files out of that folder is repeated by whoever finds it: the next `load` or `save` of that name.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_NO_ROOM = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows knows no quotas


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[str]:
    """Write files so that a crash, an error or a full disk leaves what was there before.

    Parameters
    ----------
    path : path
        The file to write. A URL (left to smart_open: object stores replace an object as a whole) and what is no
        regular file, such as a pipe, are written directly.

    Yields
    ------
    str
        A path of the same file name in a new folder beside `path`. It takes the place of `path` when the block ends
        without an error; files that the block writes beside it, named `NAME.something`, come along.

    Raises
    ------
    FileNotFoundError
        The folder does not exist, or the block wrote no file.
    OSError
        Writing failed; where that is for want of room, with the name of the file.

    Example
    -------
    >>> with atomic_write("vectors.bin") as temporary:  # doctest: +SKIP
    ...     model.wv.save_word2vec_format(temporary, binary=True)
    """
    path = os.fspath(path)
    if "://" in path or (os.path.exists(path) and not os.path.isfile(path)):
        with _naming(path):
            yield path
        return
    folder, name = os.path.split(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder} to write into", path)
    finish_write(path)
    workplace = tempfile.mkdtemp(prefix=f".{name}.saving-", dir=folder)
    try:
        with _naming(path):
            yield os.path.join(workplace, name)
        _put_in_place(workplace, path)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)  # already gone after a success


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Add the file's name to the errors of a full disk, which come from a write that does not know it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:  # numpy's, of an array: "30000 requested and 1072 written"
            error.args = (f"{path}: {error}",)
        elif error.filename is None and error.errno in _NO_ROOM:
            error.filename = path
        raise


def finish_write(path: str | os.PathLike[str]) -> None:
    """Complete a write that a crash interrupted between its files. Does nothing where there is none.

    Parameters
    ----------
    path : path
        As given to `atomic_write`.
    """
    path = os.path.abspath(path)
    commit = _commit_folder(path)
    if not os.path.isdir(commit):
        return
    name = os.path.basename(path)
    main, sides = os.path.join(commit, name), [other for other in sorted(os.listdir(commit)) if other != name]
    with suppress(FileNotFoundError):  # another process is completing the same write
        if sides and os.path.exists(main):
            with suppress(FileNotFoundError):
                os.remove(path)  # no reader may take an old model with new side files for a whole one
        for side in sides:
            os.replace(os.path.join(commit, side), os.path.join(os.path.dirname(path), side))
        if os.path.exists(main):
            os.replace(main, path)
        _sync(os.path.dirname(path))
        os.rmdir(commit)


def _commit_folder(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name}.commit")


def _put_in_place(workplace: str, path: str) -> None:
    path = os.path.abspath(path)
    folder, name = os.path.split(path)
    written = os.listdir(workplace)
    if name not in written:
        raise FileNotFoundError(errno.ENOENT, "nothing was written to take its place", path)
    for file in written:
        new, old = os.path.join(workplace, file), os.path.join(folder, file)
        if os.path.exists(old):
            shutil.copymode(old, new)
        _sync(new)
    if written == [name]:
        os.replace(os.path.join(workplace, name), os.path.realpath(path))  # a link goes on pointing where it did
    else:
        _sync(workplace)
        os.rename(workplace, _commit_folder(path))
        _sync(folder)
        finish_write(path)
    _sync(folder)


def _sync(path: str) -> None:
    """Wait until the disk has a file's content or a folder's entries."""
    folder = os.path.isdir(path)
    if folder and os.name == "nt":
        return  # Windows cannot open folders, and records their entries itself
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
