"""Token lists to padded batches of row numbers, for layers that are made of word vectors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset, default_collate

from torchw2v.errors import CorpusTypeError, SettingError


class TokenBatch(NamedTuple):
    """Token lists side by side.

    Attributes
    ----------
    ids : int64 tensor [B, L]
        Rows of the embedding; behind a list's end the padding row. L is the longest list's length.
    lengths : int64 tensor [B]
        Tokens of each list that have a row.
    mask : bool tensor [B, L]
        True where there is a token.
    """

    ids: torch.Tensor
    lengths: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True)
class TokenVocabulary:
    """Which row of an embedding is whose. Rows count from 0 and include the special tokens'.

    Attributes
    ----------
    index_to_key : tuple
        The token of each row.
    padding_index : int or None
        The row that pads batches.
    unknown_index : int or None
        The row of tokens that have none; None: such tokens are left out, as in training.
    specials : tuple
        The tokens that were added to the model's words.
    key_to_index : dict
        The row of each token.
    """

    index_to_key: tuple[Hashable, ...]
    padding_index: int | None = None
    unknown_index: int | None = None
    specials: tuple[Hashable, ...] = ()
    key_to_index: Mapping[Hashable, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_to_index", {key: row for row, key in enumerate(self.index_to_key)})

    def __len__(self) -> int:
        """Rows, special tokens included."""
        return len(self.index_to_key)

    def encode(self, tokens: Iterable[Hashable]) -> torch.Tensor:
        """The rows of a token list: int64 tensor [n]; unknown tokens become the unknown row or are left out.

        Raises
        ------
        CorpusTypeError (a TypeError)
            A string was given, whose letters would be taken for tokens.
        """
        if isinstance(tokens, str | bytes):
            raise CorpusTypeError(f"encode() takes a list of tokens, got {tokens[:40]!r}; use {tokens[:10]!r}.split()")
        unknown = -1 if self.unknown_index is None else self.unknown_index
        rows = torch.tensor([self.key_to_index.get(token, unknown) for token in tokens], dtype=torch.int64)
        return rows if unknown >= 0 else rows[rows >= 0]

    def batch(self, token_lists: Iterable[Iterable[Hashable]]) -> TokenBatch:
        """Encode token lists and pad them to one length."""
        return self._padded([self.encode(tokens) for tokens in token_lists])

    def collate(self, items: Sequence[Any]) -> Any:
        """`collate_fn` of a DataLoader over a TokenDataset.

        Parameters
        ----------
        items : sequence
            What the dataset gave: row tensors, or (row tensor, target) pairs.

        Returns
        -------
        TokenBatch, or (TokenBatch, targets)
            Targets as torch's own `default_collate` joins them.
        """
        if isinstance(items[0], tuple):
            rows, targets = zip(*items, strict=True)
            return self._padded(rows), default_collate(list(targets))
        return self._padded(items)

    def _padded(self, rows: Sequence[torch.Tensor]) -> TokenBatch:
        if self.padding_index is None:
            raise SettingError("this vocabulary has no padding row; make the embedding with padding_idx=0 (or -1)")
        lengths = torch.tensor([len(one) for one in rows], dtype=torch.int64)
        longest = int(lengths.max()) if len(rows) else 0
        ids = torch.full((len(rows), longest), self.padding_index, dtype=torch.int64)
        for number, one in enumerate(rows):
            ids[number, : len(one)] = one
        return TokenBatch(ids, lengths, torch.arange(longest) < lengths.unsqueeze(1))


class TokenDataset(Dataset):
    """Token lists, encoded once, for torch.utils.data.DataLoader.

    Parameters
    ----------
    token_lists : iterable of token lists
        Read once, and kept as rows.
    vocabulary : TokenVocabulary
        As `to_embedding` gives it.
    targets : sequence, optional
        What a model shall say of each list: labels, numbers, tensors.

    Raises
    ------
    SettingError (a ValueError)
        There are not as many targets as lists.

    Example
    -------
    >>> data = TokenDataset(texts, vocabulary, labels)  # doctest: +SKIP
    >>> loader = DataLoader(data, batch_size=32, shuffle=True, collate_fn=vocabulary.collate)  # doctest: +SKIP
    """

    def __init__(
        self,
        token_lists: Iterable[Iterable[Hashable]],
        vocabulary: TokenVocabulary,
        targets: Sequence[Any] | None = None,
    ) -> None:
        rows = [vocabulary.encode(tokens) for tokens in token_lists]
        if targets is not None and len(targets) != len(rows):
            raise SettingError(f"there are {len(rows)} token lists but {len(targets)} targets")
        self._rows = torch.cat([torch.empty(0, dtype=torch.int64), *rows])
        self._ends = torch.tensor([len(one) for one in rows], dtype=torch.int64).cumsum(0)
        self._targets = targets

    def __len__(self) -> int:
        """Token lists."""
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        """Rows of one list, int64 tensor [n]; with targets a pair (rows, target)."""
        index = range(len(self))[index]  # negative ones, too; IndexError past the end
        rows = self._rows[int(self._ends[index - 1]) if index else 0 : int(self._ends[index])]
        return rows if self._targets is None else (rows, self._targets[index])
