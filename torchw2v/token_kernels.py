"""The tokens of Python lists as UTF-8 in one buffer, in a compiled loop that reads the strings where they lie.

Strings are read through what numba itself unboxes them with, which knows the interpreter's layout. The loop holds
Python's lock, so that nothing changes under it; all work that follows needs no lock. One core, 5.1 M words of
Wikipedia: 9 ns a word, where asking for each type and joining took 45 (compat.textbench, part lists).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from torchw2v.compiling import INNER, kept
from torchw2v.word_table import Words, eights_of

_PADDING = 8  # bytes around the words: eight may be read from each byte of them on
_ADDRESS = ir.IntType(64)
_INLINED: dict[str, Any] = {"error_model": "numpy", "_nrt": False, "forceinline": True, **INNER}
_inlined = njit(**_INLINED)


class Kinds(NamedTuple):
    """Addresses of types."""

    list: int
    tuple: int
    str: int


class Gathered(NamedTuple):
    """What `gather` fills. Arrays may be longer than what is used of them."""

    buffer: np.ndarray  # uint8
    eights: np.ndarray
    starts: np.ndarray  # int64: of each word
    ends: np.ndarray
    sentence_ends: np.ndarray  # int64: words before each sentence end


def _either(api: Any, builder: Any, is_list: Any, names: tuple[str, str], result: Any, arguments: list[Any]) -> Any:
    """Call the one or the other of two functions of Python's, of the same signature."""
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    of_list, of_tuple = (api._get_function(kind, name=name) for name in names)
    return builder.call(builder.select(is_list, of_list, of_tuple), arguments)


@intrinsic
def _length(typing: Any, is_list: Any, sequence: Any) -> Any:
    """The length of a list or tuple, by its address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        api = context.get_python_api(builder)
        which, address = arguments
        names = ("PyList_Size", "PyTuple_Size")
        return _either(api, builder, which, names, api.py_ssize_t, [builder.inttoptr(address, api.pyobj)])

    return types.int64(types.boolean, types.int64), generate


@intrinsic
def _item(typing: Any, is_list: Any, sequence: Any, index: Any) -> Any:
    """The address of an item of a list or tuple, which goes on owning it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        api = context.get_python_api(builder)
        which, address, index = arguments
        names = ("PyList_GetItem", "PyTuple_GetItem")
        item = _either(api, builder, which, names, api.pyobj, [builder.inttoptr(address, api.pyobj), index])
        return builder.ptrtoint(item, _ADDRESS)

    return types.int64(types.boolean, types.int64, types.int64), generate


@intrinsic
def _type(typing: Any, item: Any) -> Any:
    """The address of an object's type."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        api = context.get_python_api(builder)
        return builder.ptrtoint(api.get_type(builder.inttoptr(arguments[0], api.pyobj)), _ADDRESS)

    return types.int64(types.int64), generate


@intrinsic
def _letters(typing: Any, string: Any) -> Any:
    """(where the letters of a str lie, 0 if it has no such form; how many; bytes of each; whether all are ASCII)."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        api = context.get_python_api(builder)
        found = api.string_as_string_size_and_kind(builder.inttoptr(arguments[0], api.pyobj))
        _, data, length, width, ascii_only, _ = found
        values = [builder.ptrtoint(data, _ADDRESS), length, *(builder.zext(v, _ADDRESS) for v in (width, ascii_only))]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(types.int64, 4)(types.int64), generate


def _load_of(bits: int) -> Any:
    """A function that reads a number of so many bits at an address."""

    def load(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            place = builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())
            return builder.zext(builder.load(place, align=1), _ADDRESS)

        return types.uint64(types.int64), generate

    return intrinsic(load)


_load_1, _load_2, _load_4, _load_8 = map(_load_of, (8, 16, 32, 64))


@_inlined
def _copy(data: int, length: int, eights: np.ndarray, used: int) -> None:
    """Copy ASCII, eight bytes at a time. What is read in front of a shorter word is the head of its object."""
    at = 0
    while at + 8 <= length:
        eights[used + at] = _load_8(data + at)
        at += 8
    if at < length:
        eights[used + at] = _load_8(data + length - 8) >> np.uint64(8 * (8 - (length - at)))


@_inlined
def _encode(data: int, length: int, width: int, buffer: np.ndarray, used: int) -> int:
    """Write letters as UTF-8; returns where it ends, -1 if there is none for them (lone surrogates)."""
    for k in range(length):
        if width == 1:
            code = _load_1(data + k)
        elif width == 2:
            code = _load_2(data + 2 * k)
        else:
            code = _load_4(data + 4 * k)
        if code < 0x80:
            buffer[used] = code
            used += 1
            continue
        if code < 0x800:
            buffer[used] = 0xC0 | code >> 6
            used += 1
        else:
            if 0xD800 <= code < 0xE000:
                return -1
            if code < 0x10000:
                buffer[used] = 0xE0 | code >> 12
                used += 1
            else:
                buffer[used] = 0xF0 | code >> 18
                buffer[used + 1] = 0x80 | code >> 12 & 0x3F
                used += 2
            buffer[used] = 0x80 | code >> 6 & 0x3F
            used += 1
        buffer[used] = 0x80 | code & 0x3F
        used += 1
    return used


@kept(error_model="numpy")  # with Python's lock
def _gather(
    sentences: int, is_list: bool, sentence: int, token: int, kinds: Kinds, into: Gathered
) -> tuple[int, int, int, int, bool]:
    """Read until an array is full, at the end, or before what is not a str in a list or tuple.

    Returns (words, sentences that ended, sentence, token; whether an array is full).
    """
    words = ended = 0
    used = _PADDING
    while sentence < _length(is_list, sentences):  # type: ignore[call-arg] # numba gives the first
        run = _item(is_list, sentences, sentence)
        kind = _type(run)
        in_list = kind == kinds.list
        if not in_list and kind != kinds.tuple:
            return words, ended, sentence, token, False
        length = _length(in_list, run)
        while token < length:
            item = _item(in_list, run, token)
            if _type(item) != kinds.str:
                return words, ended, sentence, token, False
            data, letters, width, ascii_only = _letters(item)
            if data == 0:
                return words, ended, sentence, token, False
            most = letters if ascii_only else 4 * letters
            if words == len(into.starts) or used + most > len(into.eights) - _PADDING:
                return words, ended, sentence, token, True
            end = used + letters
            if ascii_only:
                _copy(data, letters, into.eights, used)
            else:
                end = _encode(data, letters, width, into.buffer, used)
                if end < 0:
                    return words, ended, sentence, token, False
            into.starts[words], into.ends[words] = used, end
            used = end
            words += 1
            token += 1
        if ended == len(into.sentence_ends):
            return words, ended, sentence, token, True
        into.sentence_ends[ended] = words
        ended += 1
        sentence += 1
        token = 0
    return words, ended, sentence, token, False


def gather(
    sentences: Sequence[Any], sentence: int, token: int, most_words: int, size: int
) -> tuple[Words, np.ndarray, tuple[int, int], bool]:
    """The next tokens of a list or tuple of lists and tuples, as UTF-8.

    Parameters
    ----------
    sentences : list or tuple
        Of anything.
    sentence, token : int
        Where to begin.
    most_words, size : int
        Tokens and bytes at most.

    Returns
    -------
    words : Words
        The tokens, which may be empty or hold white space.
    sentence_ends : int64 array
        Tokens before each sentence end among them.
    place : tuple of int
        The sentence and token where it stopped.
    full : bool
        It stopped for want of room. Else at the end, or because there stands no str (but one of a subclass, a number,
        ...), one that UTF-8 has no form for, or a sentence that is neither a list nor a tuple.
    """
    buffer, (starts, ends, sentence_ends) = np.empty(size + 4 * _PADDING, np.uint8), np.empty((3, most_words), np.int64)
    kinds, into = Kinds(id(list), id(tuple), id(str)), Gathered(buffer, eights_of(buffer), starts, ends, sentence_ends)
    words, ended, *place, full = _gather(id(sentences), type(sentences) is list, sentence, token, kinds, into)
    return Words(buffer, starts[:words], ends[:words]), sentence_ends[:ended], (place[0], place[1]), full
