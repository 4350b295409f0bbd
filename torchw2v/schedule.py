"""How much is trained at once: tokens in flight and row caps, from the corpus and its hottest word.

All updates of a step are computed from the same weights, so a row that occurs often in a step receives the sum of
many stale updates: its learning rate is multiplied by its count, and beyond a point training explodes. Two rules
keep it stable: few enough tokens in flight for this corpus, and a cap on the rows that are hot all the same.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from torchw2v.constants import GROUP, MAX_BLOCK_ROWS, NODE_PULL, TILE
from torchw2v.ops.contract import Objective, Plan, Tables
from torchw2v.tables import node_probabilities, noise_probabilities

MAX_IN_FLIGHT = 4096  # quality untouched at 4,096 with row caps, lower at 16,384 (docs/kernels.md, "Staleness")
# Hierarchical softmax: the root is on every path, so staleness costs more. Skip-gram, 3 M words of Wikipedia, 3 epochs,
# analogies solved (gensim 0.096): 0.074 at 2,048 in flight, 0.079 at 512.
MAX_IN_FLIGHT_TREE = 512
# CBOW trains a path once a center, not six times: 6 M words of Wikipedia, 5 epochs, seeds 1 to 3, WordSim-353,
# SimLex-999 and analogies 0.408, 0.187, 0.086 at 1,024 in flight, 0.405, 0.186, 0.085 at 2,048 (gensim 0.394, 0.191,
# 0.082).
MAX_IN_FLIGHT_TREE_CBOW = 2048
MAX_IN_FLIGHT_TREE_DEVICE = 2048  # of a step of torch operations on an accelerator
MAX_HOT_OCCURRENCES = 64  # of the most frequent word in flight; beyond, its cap would throw most of its updates away
# Programs of fused kernels read weights that are microseconds old, not a step's snapshot, Huffman nodes as well: where
# the corpus is large enough, more are in flight. CBOW's steps grow so far; skip-gram has several steps in flight, whose
# row caps are for one. 17 M words of Wikipedia, 5 epochs, D = 128, on an H200, WordSim-353, SimLex-999 and analogies
# (gensim): skip-gram 0.584, 0.264, 0.236 (0.576, 0.266, 0.234), CBOW 0.496, 0.231, 0.229 (0.483, 0.223, 0.221), its
# paths 0.472, 0.198, 0.130 (0.467, 0.193, 0.117). Of 6 M words, where 16,384 are 0.4 % of an epoch, CBOW 0.381, 0.201,
# 0.113 (0.396, 0.212, 0.125): docs/benchmarks.md, "On a GPU".
MAX_IN_FLIGHT_FUSED = 16_384
MAX_FUSED_SHARE = 0.0013  # of an epoch in flight: the share that 16,384 have of those 17 M words
# Fewer in a small corpus, from snapshots. Penn Treebank (0.9 M words), 10 epochs, mean of 4 seeds, WordSim-353,
# SimLex-999 and analogies: CBOW 0.205, 0.120, 0.039 at 4,096, 0.221, 0.123, 0.041 at 2,048, 0.230, 0.129, 0.045 at
# 1,024, 0.228, 0.128, 0.045 at 512 (gensim 0.232, 0.130, 0.045), skip-gram 0.258, 0.145, 0.037 at 4,096, 0.276, 0.164,
# 0.037 at 512 (0.262, 0.163, 0.038).
MIN_IN_FLIGHT_FUSED = 1024
# Skip-gram's steps grow up to MAX_IN_FLIGHT, at the share of an epoch that 4,096 have of those 17 M words. Steps from
# snapshots, SimLex, mean of 3 to 5 seeds: 6 M words 0.232 at 4,096, 0.236 to 0.240 from 2,048 down to 512 (gensim
# 0.243), 2 M words 0.162 at 2,048, 0.164 at 1,024, 0.171 at 512: docs/benchmarks.md, "What a CPU can tell about the
# kernels".
FUSED_STEP_SHARE = 0.00032
MIN_STEP_FUSED = 512
MAX_CORPUS_SHARE = 0.01  # of an epoch in flight, so that a small corpus still takes many steps
# Tokens that one thread trains from one snapshot. Skip-gram with negative sampling, 6 M words of Wikipedia, 5 epochs,
# 2 threads, mean of seeds 4 to 7: SimLex 0.238 at 512, 0.229 at 1,024; analogies 0.154 and 0.155.
MAX_STEP_TOKENS = 512
MAX_STEP_TOKENS_CBOW = 1024  # a center is one example, not six: rows are hit less often
CHUNK_TOKENS = 32_768  # raw tokens for which alpha is constant and draws are made at once
DEVICE_CHUNK_TOKENS = 2**20  # the same on an accelerator: a launch costs microseconds whatever its size
# Multiplications for the scores of a chunk at most (`token_work` each): it has to end within seconds, so that Ctrl-C is
# answered and progress is seen. Products with the whole vocabulary make 2^35 multiply-adds a second and core at best.
# Reached under the full softmax, and by windows of hundreds in sentences as long.
CHUNK_WORK, DEVICE_CHUNK_WORK = 2**34, 2**40
SHARED_NEGATIVES = 32  # of a group at 5 negatives and 6 pairs a hidden row (window 5)
_MAX_NEGATIVES = 128


def shared_negatives(objective: Objective) -> int:
    """Noise words drawn for a group of hidden rows.

    Grows with the negatives that gensim would draw for the group's pairs, so that one noise word does not stand for
    ever more of them: 32 at window 5 and 5 negatives.
    """
    pairs = min(objective.pairs_per_token, MAX_BLOCK_ROWS) if objective.skip_gram else 6.0
    wanted = SHARED_NEGATIVES * (objective.negative / 5) * (pairs / 6)
    return int(min(max(8 * math.ceil(wanted / 8), 8), _MAX_NEGATIVES)) if objective.negative else 0


def make_plan(
    objective: Objective,
    tables: Tables,
    counts: np.ndarray,
    *,
    threads: int,
    epoch_tokens: float,
    tile: int = TILE,
    step_tokens: int | None = None,
    on_device: bool = False,
    fused: bool = False,
    neighbors: float = math.inf,
) -> Plan:
    """Choose the step size and the row caps.

    Parameters
    ----------
    objective : Objective
    tables : Tables
    counts : int array [V]
        Corpus counts; 0 is allowed.
    threads : int
        Threads that train at the same time, each with a step of its own in flight.
    epoch_tokens : float
        Tokens of an epoch before subsampling, as far as known.
    tile : int
        Centers in a tile.
    step_tokens : int
        Tokens in a step of a CPU thread at most; chosen by mode if not given.
    on_device : bool
        One stream of work on an accelerator: a step is all that is in flight.
    fused : bool
        The Triton engine: what is in flight reads weights as others leave them, and may be more than a step.
    neighbors : float
        Other words in the sentence of a token, on average: a window wider than the sentences has no more pairs.
    """
    kept = counts * (tables.keep_thresholds / np.float64(2**32 - 1))
    total = max(float(kept.sum()), 1e-9)
    words = kept / total  # [V] chance of each word at an effective token
    hottest = float(words.max()) if len(words) else 1.0
    effective = epoch_tokens * min(1.0, total / max(float(counts.sum()), 1e-9))
    most, hot, overlap = MAX_IN_FLIGHT, float(MAX_HOT_OCCURRENCES), 1
    if fused:
        wanted = min(max(effective * MAX_FUSED_SHARE, MIN_IN_FLIGHT_FUSED), MAX_IN_FLIGHT_FUSED)
        if objective.skip_gram:
            most = int(min(max(effective * FUSED_STEP_SHARE, MIN_STEP_FUSED), MAX_IN_FLIGHT))
        else:
            most, hot = int(wanted), hot * max(1.0, wanted / MAX_IN_FLIGHT)
    elif objective.hierarchical:
        most = MAX_IN_FLIGHT_TREE if objective.skip_gram else MAX_IN_FLIGHT_TREE_CBOW
        most = MAX_IN_FLIGHT_TREE_DEVICE if on_device else most
    if on_device:
        step_tokens = most
    elif step_tokens is None:
        step_tokens = MAX_STEP_TOKENS if objective.skip_gram else MAX_STEP_TOKENS_CBOW
    limit = min(hot / max(hottest, 1e-9), effective * MAX_CORPUS_SHARE)
    if fused and objective.skip_gram:  # a hot word, or a small corpus, keeps other steps from beside a step, too
        overlap = max(1, int((wanted if limit >= MAX_IN_FLIGHT else min(wanted, limit)) / most))
    step_tiles = int(min(max(min(most, limit) / (tile * threads), 1), step_tokens / tile))
    tokens = step_tiles * tile * threads

    shared = shared_negatives(objective)
    contexts = max(1.0, min(objective.pairs_per_token, neighbors))
    contexts = min(contexts, MAX_BLOCK_ROWS) if objective.skip_gram else contexts
    pairs_of_output = contexts if objective.skip_gram else 1.0

    def summed(chance: np.ndarray, pairs: float) -> np.ndarray:
        return (pairs * np.maximum(1.0, tokens * chance)).astype(np.float32)

    # CBOW's hidden rows are means of whole windows, made where the tile is: its groups are the tiles.
    group, spread = (GROUP, True) if objective.skip_gram else (tile, False)
    output_pairs = node_pairs = None
    if tables.cumulative is not None:
        noise = noise_probabilities(tables.cumulative) * (shared / group)
        output_pairs = summed(words + noise, pairs_of_output)
    if tables.paths is not None:
        node_pairs = summed(node_probabilities(tables.paths, words), pairs_of_output / NODE_PULL)
    inputs_ahead: Literal["none", "step", "tile"] = "none"
    if objective.hierarchical and objective.skip_gram:  # fused kernels read inputs as programs of other tiles left them
        inputs_ahead = "tile" if fused else "step"
    # Of a bag's m contexts, each pulled by 1/m of its error, each token in flight has one whole pair.
    input_pairs = summed(words, 1.0 if objective.counts_shares else contexts)
    return Plan(tile, step_tiles, group, shared, spread, inputs_ahead, input_pairs, output_pairs, node_pairs, overlap)


def token_work(objective: Objective, tables: Tables, rows: int, dimensions: int, neighbors: float) -> int:
    """Multiplications that the scores of a raw token take at most.

    Parameters
    ----------
    objective : Objective
    tables : Tables
    rows, dimensions : int
        Of the matrices.
    neighbors : float
        As in `make_plan`.
    """
    if objective.softmax:
        return rows * dimensions
    outputs = 1.0 + objective.negative if tables.cumulative is not None else 0.0
    if tables.paths is not None:
        outputs += len(tables.paths.points) / max(rows, 1)
    examples = min(objective.pairs_per_token, neighbors) if objective.skip_gram else 1.0
    return int(max(examples, 1.0) * outputs * dimensions)


def chunk_tokens(plan: Plan, threads: int, epoch_tokens: float, *, on_device: bool = False, work: int = 0) -> int:
    """Raw tokens in a chunk: many chunks a thread and epoch, so that alpha decays smoothly and threads end together.

    `work` is what `token_work` says of a token.
    """
    step = plan.step_tiles * plan.tile
    most, in_parallel, limit = CHUNK_TOKENS, threads * 8, CHUNK_WORK
    if on_device:
        most, in_parallel, limit = DEVICE_CHUNK_TOKENS, 32, DEVICE_CHUNK_WORK
    if work:
        most = min(most, limit // work)
    return int(max(step, min(most, epoch_tokens / in_parallel)))
