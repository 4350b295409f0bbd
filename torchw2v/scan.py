"""From sentences to ids: counting and encoding in one pass, by the quickest way that their kind allows.

text files       --text.encode_blocks-->            threads that split bytes
long token lists --token_lists.TokenReader-->       threads that look gathered strings up
other iterables  --a dictionary-->                  one sentence after another; also the rest of a list, from the
                                                    first token on that is not a str
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models.word2vec import LineSentence, PathLineSentences

from torchw2v.corpus import UNKNOWN, CorpusChunk, EncodedCorpus, ScannedCorpus, Sentences, Token, drop_unknown
from torchw2v.text import Piece, encode_blocks, find_words, read_blocks, worth_compiling, worth_starting
from torchw2v.token_lists import TokenReader, seeded, worth_gathering
from torchw2v.word_table import WordTable

Progress = Callable[[int, int, int, Iterable[Token]], None]


def text_files(sentences: Any) -> Sequence[Any] | None:
    """The files whose lines these sentences are, all of them and nothing else; None for any other iterable."""
    if type(sentences) not in (LineSentence, PathLineSentences) or sentences.limit is not None:
        return None
    longest = sentences.max_sentence_length
    if not isinstance(longest, int) or longest < 1:
        return None
    files = [sentences.source] if type(sentences) is LineSentence else list(sentences.input_files)
    return files if all(isinstance(file, str | Path) for file in files) else None


def name_place(error: UnicodeDecodeError, sentence: int) -> UnicodeDecodeError:
    """The same error with the place in the corpus and the cure in its reason."""
    line = bytes(error.object[max(0, error.start - 20) : error.end + 20])
    reason = (
        f"{error.reason}, after {sentence} sentences, near {line!r}. The corpus must be UTF-8: convert it, or pass an "
        "iterable that decodes it, e.g. smart_open.open(path, encoding='latin-1')"
    )
    return UnicodeDecodeError(error.encoding, error.object, error.start, error.end, reason)


class _SentenceEnds:
    """Sentence ends, as token positions, out of line ends.

    Parameters
    ----------
    longest : int
        A line of more words is cut into sentences of so many.
    """

    def __init__(self, longest: int) -> None:
        self.count = self.last = 0
        self._longest = longest

    def of(self, line_ends: np.ndarray) -> np.ndarray:
        """The sentences that end with the next lines: int64 array. A line without words is no sentence."""
        lengths = np.diff(line_ends, prepend=self.last)
        ends = line_ends[lengths > 0]
        if lengths.max(initial=0) > self._longest:
            cuts = [
                position
                for start, end in pairwise([self.last, *ends.tolist()])
                for position in (*range(start + self._longest, end, self._longest), end)
            ]
            ends = np.array(cuts, np.int64)
        if len(ends):
            self.count, self.last = self.count + len(ends), int(ends[-1])
        return ends


class _Report:
    """Calls `progress` at every so many sentences, with what was true when they began."""

    def __init__(self, progress: Progress, every: int) -> None:
        self._progress, self._every = progress, every
        self._sentences = self._words = self._types = self._last = 0

    def add(self, piece: Piece) -> None:
        """Report the sentences that end in this piece (of ids by order of first appearance, and sentence ends)."""
        ended = len(piece.line_ends)
        for i in range(-self._sentences % self._every, ended, self._every):
            start = int(piece.line_ends[i - 1]) if i else self._last
            types = int(piece.ids[: max(start - self._words, 0)].max(initial=self._types - 1)) + 1
            self._progress(self._sentences + i, start, types, ())
        self._sentences += ended
        self._words += len(piece.ids)
        self._types = int(piece.ids.max(initial=self._types - 1)) + 1
        self._last = int(piece.line_ends[-1]) if ended else self._last


def _text_pieces(files: Sequence[Any], table: WordTable, *, longest: int, grow: bool, workers: int) -> Iterator[Piece]:
    """Pieces of text files, with sentence ends (positions in the corpus) in place of line ends."""
    ends, done = _SentenceEnds(longest), 0
    workers, compiled = worth_starting(files, workers), worth_compiling(files)
    try:
        for piece in encode_blocks(read_blocks(files), table, grow=grow, workers=workers, compiled=compiled):
            yield Piece(piece.ids, ends.of(piece.line_ends + done))
            done += len(piece.ids)
    except UnicodeDecodeError as error:
        block, place = bytes(error.object), error.start
        start = block.rfind(b"\n", 0, place) + 1
        stop = block.find(b"\n", place) + 1 or len(block)
        ends.of(find_words(block[:start])[1] + done)
        in_line = UnicodeDecodeError(error.encoding, block[start:stop], place - start, error.end - start, error.reason)
        raise name_place(in_line, ends.count) from error


def scan_text(
    files: Sequence[Any], table: WordTable, *, longest: int, workers: int, progress: Progress, every: int
) -> Iterator[Piece]:
    """Encode text files by order of first appearance.

    Parameters
    ----------
    files : sequence
        Anything smart_open opens.
    table : WordTable
        An empty one. Its words are those of the ids at the end.
    longest : int
        Words of a sentence at most.
    workers : int
        Threads.
    progress, every
        As in `scan`.

    Yields
    ------
    Piece
        With sentence ends, as positions in the corpus, in place of line ends.

    Raises
    ------
    UnicodeDecodeError
        A file holds bytes that are not UTF-8.
    """
    report = _Report(progress, every)
    for piece in _text_pieces(files, table, longest=longest, grow=True, workers=workers):
        piece.ids[:] -= 1
        report.add(piece)
        yield piece


class _Growing:
    """Token ids and sentence offsets, in memory that grows with them."""

    def __init__(self) -> None:
        self.ids, self.offsets = array("i"), array("q", [0])

    def add(self, piece: Piece) -> None:
        """Append ids, and sentence ends that are positions in the corpus."""
        for mine, part in ((self.ids, piece.ids), (self.offsets, piece.line_ends)):
            mine.frombytes(np.ascontiguousarray(part).view(np.uint8).data)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """The same memory as arrays: ids, offsets."""
        return np.frombuffer(self.ids, np.int32), np.frombuffer(self.offsets, np.int64)


def scan(sentences: Sentences, progress: Progress, every: int = 10_000, workers: int = 1) -> ScannedCorpus:
    """Count and encode in one pass.

    Parameters
    ----------
    sentences : iterable of iterables of hashable tokens
    progress : callable
        Called with (sentences so far, raw words so far, word types so far, the sentence) before the first sentence and
        every `every` sentences; the sentence is () where it is not at hand.
    every : int
    workers : int
        Threads, where there is use for them.

    Raises
    ------
    TypeError
        A sentence is not iterable or a token is not hashable.
    UnicodeDecodeError
        A file holds bytes that are not UTF-8.
    """
    files = text_files(sentences)
    if files is not None:
        corpus, table = _Growing(), WordTable()
        longest = sentences.max_sentence_length  # type: ignore[attr-defined]
        for piece in scan_text(files, table, longest=longest, workers=workers, progress=progress, every=every):
            corpus.add(piece)
        return ScannedCorpus(table.take_words(), *corpus.arrays())
    if worth_gathering(sentences):
        return _scan_lists(sentences, progress, every, workers)  # type: ignore[arg-type]
    return _scan_iterable(sentences, progress, every, _Growing())


def _scan_lists(sentences: Sequence[Any], progress: Progress, every: int, workers: int) -> ScannedCorpus:
    corpus, reader, table, report = _Growing(), TokenReader(sentences), WordTable(), _Report(progress, every)
    for piece in reader.pieces(table, grow=True, workers=workers):
        piece.ids[:] -= 1
        report.add(piece)
        corpus.add(piece)
    if reader.at_end:
        return ScannedCorpus(table.take_words(), *corpus.arrays())
    return _scan_iterable(reader.rest(), progress, every, corpus, table.take_words(), first=reader.sentence)


def _scan_iterable(
    sentences: Sentences, progress: Progress, every: int, corpus: _Growing, words: Sequence[Token] = (), first: int = 0
) -> ScannedCorpus:
    """Go on by a dictionary, from a corpus of these words and the sentences before the `first`."""
    vocabulary: dict[Token, int] = defaultdict(None, zip(words, range(len(words)), strict=True))
    vocabulary.default_factory = vocabulary.__len__  # type: ignore[attr-defined] # an unseen word gets the next id
    lookup = vocabulary.__getitem__
    ids, offsets = corpus.ids, corpus.offsets
    try:
        for number, sentence in enumerate(sentences, first):
            if number % every == 0:
                progress(number, len(ids), len(vocabulary), sentence)
            ids.extend(map(lookup, sentence))
            offsets.append(len(ids))
    except UnicodeDecodeError as error:
        raise name_place(error, len(offsets) - 1) from error
    return ScannedCorpus(list(vocabulary), *corpus.arrays())


def encode(sentences: Sentences, key_to_index: Mapping[Token, int], workers: int = 1) -> EncodedCorpus:
    """Encode by a vocabulary that exists already; words outside it are dropped."""
    corpus, files, gathering = _Growing(), text_files(sentences), worth_gathering(sentences)
    known, rest = seeded(key_to_index) if files is not None or gathering else None, sentences
    if known is not None:
        table, rows = known
        if files is not None:
            longest = sentences.max_sentence_length  # type: ignore[attr-defined]
            pieces, rest = _text_pieces(files, table, longest=longest, grow=False, workers=workers), ()
        else:
            reader = TokenReader(sentences)  # type: ignore[arg-type]
            pieces = reader.pieces(table, grow=False, workers=workers)
        for piece in pieces:
            corpus.add(Piece(rows[piece.ids], piece.line_ends))
        if gathering:
            rest = reader.rest()
    _extend(corpus.ids, corpus.offsets, rest, key_to_index, limit=None)
    return drop_unknown(*corpus.arrays())


def _extend(
    ids: array, offsets: array, sentences: Sentences, key_to_index: Mapping[Token, int], limit: int | None
) -> bool:
    """Append sentences until `limit` raw words are held. False when the sentences have come to an end."""
    lookup = key_to_index.get
    try:
        for sentence in sentences:
            ids.extend(map(lookup, sentence, repeat(UNKNOWN)))
            offsets.append(len(ids))
            if limit is not None and len(ids) >= limit:
                return True
    except UnicodeDecodeError as error:
        raise name_place(error, len(offsets) - 1) from error
    return False


def stream_chunks(sentences: Sentences, key_to_index: Mapping[Token, int], size: int) -> Iterator[CorpusChunk]:
    """Chunks of an iterable that is read as they are asked for; nothing of it is kept."""
    iterator, more = chain(sentences), True  # asks for an iterator once: some start anew whenever they are asked
    position, examples, raw_words = 0, 0, 0
    while more:
        read = _Growing()
        more = _extend(read.ids, read.offsets, iterator, key_to_index, limit=size)
        part = drop_unknown(*read.arrays())
        for piece in part.chunks(size, first_position=position):
            yield piece.behind(examples, raw_words)
        position += len(part.token_ids)
        examples += len(part.sentence_offsets) - 1
        raw_words += part.raw_words
