"""What an engine is given and what it gives back. The seam between the trainer and the arithmetic.

Above this seam are corpora, schedules and threads; below it, tensors. An engine sees a chunk of token ids,
a learning rate and a draw key, and changes the weights in place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import torch

from torchw2v.ops.draws import DrawKey


@dataclass(frozen=True)
class Objective:
    """Which pairs are trained, and against what.

    Attributes
    ----------
    skip_gram : bool
        True: each context row alone is an input (SG). False: the mean or sum of the context rows is (CBOW).
    negative : int
        Negatives per pair, K. 0 switches negative sampling off.
    hierarchical : bool
        Train the Huffman nodes on the center's path. May be on together with negative sampling.
    window : int
        Maximum reach on each side, in effective tokens.
    shrink_windows : bool
        Draw each center's reach uniformly from 1..window.
    cbow_mean : bool
        CBOW only: mean of the context rows, else their sum.
    softmax : bool
        Full softmax over the vocabulary, in place of the other two. Its gradient is always the true one.
    corrected : bool
        CBOW only: the chain rule decides what of the hidden row's error a context gets; else word2vec.c does, which
        gives the whole of a mean's and a share of a sum's (Irsoy et al. 2021, arXiv:2012.15332).
    """

    skip_gram: bool
    negative: int
    hierarchical: bool
    window: int
    shrink_windows: bool = True
    cbow_mean: bool = True
    softmax: bool = False
    corrected: bool = False

    @property
    def shares_error(self) -> bool:
        """CBOW: each of m contexts gets 1/m of the hidden row's error; else the whole of it."""
        return self.cbow_mean == self.corrected

    @property
    def counts_shares(self) -> bool:
        """Whether row caps count a pair as 1/m of one: CBOW's true gradient of a mean of m contexts."""
        return not self.skip_gram and self.cbow_mean and self.corrected

    @property
    def pairs_per_token(self) -> float:
        """Expected contexts of a center in a long sentence."""
        return self.window + 1.0 if self.shrink_windows else 2.0 * self.window


@dataclass(frozen=True)
class HuffmanPaths:
    """The output rows of each word under hierarchical softmax, root first, packed.

    Attributes
    ----------
    points : int32 array [P]
        Inner nodes of all paths, one word's path after the other.
    labels : float32 array [P]
        1 - code at each node.
    offsets : int64 array [V + 1]
        Word w's path is points[offsets[w]:offsets[w + 1]].
    """

    points: np.ndarray
    labels: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Tables:
    """The vocabulary as arrays.

    Attributes
    ----------
    keep_thresholds : uint32 array [V]
        A token of word w is kept when its draw does not exceed keep_thresholds[w].
    cumulative : uint32 array [V] or None
        Running noise distribution (gensim's cum_table).
    paths : HuffmanPaths or None
    """

    keep_thresholds: np.ndarray
    cumulative: np.ndarray | None
    paths: HuffmanPaths | None


@dataclass(frozen=True)
class Plan:
    """How a chunk is cut into steps, and how far a stale row may be pulled (see schedule.py).

    Attributes
    ----------
    tile : int
        Centers in a tile, T.
    step_tiles : int
        Tiles whose updates are computed from one snapshot by one thread.
    group : int
        Hidden rows that share negatives.
    shared_negatives : int
        Noise words N that the hidden rows of a group share; each counts K / N times.
    spread : bool
        Group j of g has the rows j, j + g, j + 2g, ... of a step; else its rows are neighbors.
    inputs_ahead : "none", "step" or "tile"
        Skip-gram's Huffman nodes meet each context as its other centers in the step, or in the tile, have moved it by
        then, on average (`frames.ahead_of`).
    input_pairs, output_pairs, node_pairs : float32 array [V] (node_pairs: one per inner node), or None
        Pairs expected to be summed into a row while it is stale. A row's update is scaled by
        min(1, MAX_STALE_PULL / (alpha * pairs)), pairs being these or, if more, those that the step at hand holds.
    overlap : int
        Steps whose tokens fused kernels have in flight at the same time.
    """

    tile: int
    step_tiles: int
    group: int
    shared_negatives: int
    spread: bool
    inputs_ahead: Literal["none", "step", "tile"]
    input_pairs: np.ndarray
    output_pairs: np.ndarray | None
    node_pairs: np.ndarray | None
    overlap: int = 1


@dataclass(frozen=True)
class Job:
    """Everything about a training run that does not change from chunk to chunk.

    Attributes
    ----------
    objective : Objective
    tables : Tables
    plan : Plan
    adagrad : bool
        Row r's learning rate is alpha / sqrt(squares[r]), not alpha (Weights; docs/kernels.md, "AdaGrad by rows").
    """

    objective: Objective
    tables: Tables
    plan: Plan
    adagrad: bool = False


@dataclass
class Weights:
    """The matrices that training changes in place. float32; float64 only in the reference engine's tests.

    Attributes
    ----------
    inputs : tensor [V, D]
        gensim's wv.vectors.
    outputs : tensor [V, D] or None
        gensim's syn1neg, the rows of words as targets and negatives.
    nodes : tensor [V, D] or None
        gensim's syn1, the rows of Huffman nodes (the last one is never used).
    input_lock : tensor [V] or None
        gensim's wv.vectors_lockf, one factor a row; None means 1 everywhere.
    input_squares, output_squares, node_squares : tensors [V] or None
        AdaGrad: for each row of a matrix ADAGRAD_START and the mean squares, over dimensions, of its gradients so far;
        training adds to them in place. A gradient is that of one decision: a hidden row against one output row.
    """

    inputs: torch.Tensor
    outputs: torch.Tensor | None
    nodes: torch.Tensor | None
    input_lock: torch.Tensor | None = None
    input_squares: torch.Tensor | None = None
    output_squares: torch.Tensor | None = None
    node_squares: torch.Tensor | None = None


@dataclass(frozen=True)
class Chunk:
    """The centers token_ids[start:stop], inside a buffer of whole sentences.

    Attributes
    ----------
    token_ids : int32 array
        A buffer of in-vocabulary tokens.
    sentence_offsets : int64 array [S + 1]
        Sentence s of the buffer is token_ids[sentence_offsets[s]:sentence_offsets[s + 1]].
    start, stop : int
        The centers owned by this chunk. Contexts may lie outside, in the same sentence.
    first_position : int
        Position in the corpus of token_ids[0]; part of every draw's key.
    """

    token_ids: np.ndarray
    sentence_offsets: np.ndarray
    start: int
    stop: int
    first_position: int


@dataclass(frozen=True)
class Step:
    """What changes from chunk to chunk besides the tokens.

    Attributes
    ----------
    alpha : float
        Learning rate per update, dimensionless.
    draw_key : DrawKey
        Selects the stream of draws (seed, train call, epoch).
    compute_loss : bool
    """

    alpha: float
    draw_key: DrawKey
    compute_loss: bool = False


@dataclass
class Tally:
    """What training a chunk amounted to. Tallies add up.

    Attributes
    ----------
    effective_words : int
        Centers left after subsampling.
    pairs : int
        Examples trained: (context, center) pairs in skip-gram, centers with a context in CBOW.
    loss : float
        Sum over examples of -log sigmoid(+-score) of the center, its K negatives and its Huffman nodes; under the full
        softmax, of the cross-entropy.
        0.0 unless asked for.
    """

    effective_words: int = 0
    pairs: int = 0
    loss: float = 0.0

    def __iadd__(self, other: Tally) -> Tally:
        self.effective_words += other.effective_words
        self.pairs += other.pairs
        self.loss += other.loss
        return self


class Engine(Protocol):
    """Trains chunks. Implementations: reference, torch_engine, numba_engine, triton_engine, softmax_engine."""

    name: str

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Change `weights` in place and return what was trained."""
        ...


@runtime_checkable
class DeferringEngine(Engine, Protocol):
    """Asks a device to train and does not wait: what chunks amounted to is read later. triton_engine.TritonEngine.

    Not for several threads at once.
    """

    def hold(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        """Keep a corpus (token ids, sentence starts) on the device, whose chunks will come again."""
        ...

    def collect(self, weights: Weights) -> Tally:
        """Wait for the device: what its `train_chunk` calls have trained since the last `collect`.

        Raises
        ------
        TrainingDivergedError
            A weight is NaN or infinite.
        """
        ...
