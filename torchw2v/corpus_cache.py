"""Encodings that are used again while they are still true: from the counting pass to training, epoch to epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gensim.models.word2vec import LineSentence

from torchw2v.corpus import EncodedCorpus, ScannedCorpus, Token
from torchw2v.freed_memory import give_back
from torchw2v.scan import encode
from torchw2v.source import Source, describe
from torchw2v.token_file import MappedCorpus, TokenFile, is_token_file

_WORDS_TO_GIVE_BACK_FOR = 1 << 20  # the ways to a smaller corpus leave little behind


@dataclass(frozen=True)
class _Kept:
    source: Source
    scope: object  # the train() call or constructor it was made in
    vocabulary: int  # size of the vocabulary it was encoded by; a model's vocabulary only grows
    corpus: Any

    def serves(self, source: Source, scope: object, vocabulary: int) -> bool:
        """Whether reading `source` again would give the same corpus."""
        return (
            (
                source.lasting
                or (self.source.sentences is source.sentences and scope is not None and self.scope is scope)
            )
            and self.source.fingerprint == source.fingerprint
            and self.vocabulary == vocabulary
        )


class CorpusCache:
    """The last counted and the last encoded corpus of a model.

    A file is recognised by its path, size and modification time, in any later call. A list is recognised only
    inside one call (`scope`), by its sentences' identities and lengths: the words inside it may change unseen between
    calls.
    """

    def __init__(self) -> None:
        self._scanned: _Kept | None = None
        self._encoded: _Kept | None = None
        self._lines: LineSentence | None = None
        self._tokens: TokenFile | None = None

    def lines(self, corpus_file: Any) -> LineSentence | TokenFile:
        """The lines of a file as sentences, however long, or an encoded corpus; the same object for the same file."""
        if is_token_file(corpus_file):
            fresh = TokenFile.open(corpus_file, whole=False)
            if self._tokens is None or self._tokens.state != fresh.state:
                self._tokens = TokenFile.open(corpus_file)
            return self._tokens
        if self._lines is None or self._lines.source != corpus_file:
            self._lines = LineSentence(corpus_file, max_sentence_length=sys.maxsize)
        return self._lines

    def keep_scan(self, sentences: Any, scope: object, scanned: ScannedCorpus) -> None:
        """Remember what the counting pass encoded, if anything may use it again."""
        source = describe(sentences)
        useful = source.repeats and (source.lasting or scope is not None)
        self._scanned = _Kept(source, scope, 0, scanned) if useful else None

    def drop_scan(self) -> None:
        """Forget the counting pass."""
        self._scanned = None

    def encoded(
        self, sentences: Any, scope: object, key_to_index: Mapping[Token, int], workers: int
    ) -> EncodedCorpus | MappedCorpus | None:
        """The corpus by this vocabulary, read again only where it must be; None if it may change with every pass."""
        source, size = describe(sentences), len(key_to_index)
        if not source.repeats:
            return None
        if self._encoded is not None and self._encoded.serves(source, scope, size):
            return self._encoded.corpus
        corpus: EncodedCorpus | MappedCorpus
        if isinstance(sentences, TokenFile):
            corpus = MappedCorpus.of(sentences, key_to_index)
        elif self._scanned is not None and self._scanned.serves(source, scope, 0):
            corpus = self._scanned.corpus.keep(key_to_index, in_place=True)
        else:
            corpus = encode(sentences, key_to_index, workers)
        self._scanned = None
        self._encoded = _Kept(source, scope, size, corpus)
        if corpus.raw_words >= _WORDS_TO_GIVE_BACK_FOR:
            give_back()
        return corpus

    def forget_passing(self) -> None:
        """Let go of what no later call may use."""
        if self._scanned is not None and not self._scanned.source.lasting:
            self._scanned = None
        if self._encoded is not None and not self._encoded.source.lasting:
            self._encoded = None
