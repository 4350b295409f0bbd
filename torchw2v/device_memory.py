"""What training takes of a device's memory, known before anything is allocated there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from torchw2v.errors import DeviceMemoryError

WORKING_BYTES = 2**30  # a chunk's kept tokens, counters and scratch blocks; torch's allocator keeps what it once had
_TABLE_BYTES = 40  # a word: keep threshold, alias table, expected pairs, share, lock
_TREE_BYTES = 172  # a word's, too, with Huffman paths: top 32, start 8, expected pairs 4, 32 nodes below the top
_TOKEN_BYTES = 4


def row_stride(width: int) -> int:
    """Floats from row to row on an accelerator: whole 16 bytes, so that a kernel may move four at once."""
    return -(-width // 4) * 4


@dataclass(frozen=True)
class MemoryEstimate:
    """What a training run takes on a device.

    Attributes
    ----------
    words, width : int
        Rows and dimensions of a matrix.
    matrices : int
        Input rows, output rows, Huffman nodes: 2 or 3.
    hierarchical : bool
        There are Huffman paths.
    tokens : int
        Of the corpus that would stay on the device; 0 where none can.
    adagrad : bool
        Each row has a sum of squares.
    """

    words: int
    width: int
    matrices: int
    hierarchical: bool
    tokens: int = 0
    adagrad: bool = False

    @property
    def weights(self) -> int:
        """Bytes of the matrices."""
        return 4 * self.words * (row_stride(self.width) + self.adagrad) * self.matrices

    @property
    def tables(self) -> int:
        """Bytes of the vocabulary's tables."""
        return self.words * (_TABLE_BYTES + _TREE_BYTES * self.hierarchical)

    @property
    def needed(self) -> int:
        """Bytes without the corpus, whose chunks can be copied one by one."""
        return self.weights + self.tables + WORKING_BYTES

    @property
    def corpus(self) -> int:
        """Bytes of the corpus."""
        return _TOKEN_BYTES * self.tokens

    def corpus_fits(self, device: torch.device) -> bool:
        """Whether everything fits into the free memory of a CUDA device, the corpus included.

        Raises
        ------
        DeviceMemoryError
            It does not even without the corpus. The message has the sizes and what would help.
        """
        free, total = torch.cuda.mem_get_info(device)
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if self.needed > free:
            raise DeviceMemoryError(
                f"training needs about {self.needed / 1e9:.1f} GB on {device}: {self.weights / 1e9:.1f} GB for "
                f"{self.matrices} matrices of {self.words:,} words by {self.width} dimensions, "
                f"{self.tables / 1e9:.1f} GB for tables, {WORKING_BYTES / 1e9:.1f} GB to work in; {free / 1e9:.1f} of "
                f"its {total / 1e9:.1f} GB are free. Raise min_count or set max_final_vocab, lower vector_size, free "
                "the device's memory, or use device='cpu'"
            )
        return self.needed + self.corpus <= free
