"""The sampler's tiles equal the plain-loop definition in reference.py, on random small chunks."""

import numpy as np
import pytest
import torch

from torchw2v.constants import UINT32_SPAN
from torchw2v.corpus import EncodedCorpus
from torchw2v.ops.contract import Chunk, Job, Objective, Plan, Step, Tables
from torchw2v.ops.draws import draw_key
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.sampling import Sampler
from torchw2v.tables import keep_all

VOCABULARY = 9
SETTINGS = {
    "plain": {},
    "subsampled": {"keep": 0.5},
    "hardly_kept": {"keep": 0.08},
    "full_windows": {"shrink_windows": False, "keep": 0.7},
    "window_1": {"window": 1, "keep": 0.7},
    "wide_window": {"window": 30, "keep": 0.7},
    "tile_1": {"tile": 1, "keep": 0.7},
    "tile_5": {"tile": 5, "window": 2},
}
LENGTHS = {
    "mixed": [0, 4, 1, 0, 0, 13, 2, 1, 40, 3],
    "one_token_sentences": [1] * 12,
    "empty_sentences": [0, 0, 0],
    "one_long_sentence": [70],
    "ends_empty": [5, 0],
    "starts_empty": [0, 0, 6, 1],
}


def make_job(*, keep=1.0, window=4, tile=16, shrink_windows=True):
    thresholds = keep_all(VOCABULARY)
    if keep < 1:
        chances = keep * np.linspace(0.5, 1.5, VOCABULARY)
        thresholds = (np.minimum(chances, 1) * (UINT32_SPAN - 1)).astype(np.uint32)
    cumulative = ((np.arange(1, VOCABULARY + 1) / VOCABULARY) ** 2 * (2**31 - 1)).round().astype(np.uint32)
    ones = np.ones(VOCABULARY, np.float32)
    objective = Objective(True, 5, False, window, shrink_windows)
    return Job(objective, Tables(thresholds, cumulative, None), Plan(tile, 2, 6, 8, True, False, ones, ones, ones))


def make_corpus(lengths, seed):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.random.default_rng(seed).integers(0, VOCABULARY, size=offsets[-1]).astype(np.int32)
    return EncodedCorpus(ids, offsets, offsets)


def by_loops(job, chunk, key):
    """The definition: (center, contexts) of each center with its corpus position, and the effective words."""
    engine, step = ReferenceEngine(job), Step(0.025, key)
    tokens = engine._effective(chunk, step)
    centers = []
    for i, (word, sentence, position, owned) in enumerate(tokens):
        reach = engine._reach(position, step)
        near = [j for j in range(i - reach, i + reach + 1) if j != i and 0 <= j < len(tokens)]
        if owned:
            centers.append((word, position, [tokens[j][0] for j in near if tokens[j][1] == sentence]))
    return centers


def by_tiles(tiles, tile):
    """The same from tiles: (center, contexts) of each center."""
    slots = tiles.slots(tile)
    centers = []
    for index in range(tiles.count):
        t, i = divmod(index, tile)
        near = [s for s in range(int(tiles.first[t, i]), int(tiles.last[t, i]) + 1) if s != tiles.reach + i]
        centers.append((int(tiles.centers[t, i]), [int(slots[t, s]) for s in near]))
    return centers


def assert_tiles_equal_loops(job, chunk, key):
    """Compare one chunk; returns its pairs."""
    tile = job.plan.tile
    expected = by_loops(job, chunk, key)
    sampler = Sampler(job, torch.device("cpu"))
    tiles = sampler.tiles(chunk, key)
    if not expected:
        assert tiles is None
        return 0
    assert tiles.count == len(expected)
    pairs = sum(len(contexts) for _, _, contexts in expected)
    if not len(tiles.centers):
        assert pairs == 0
        return 0
    assert len(tiles.centers) == -(-len(expected) // tile)
    assert by_tiles(tiles, tile) == [(word, contexts) for word, _, contexts in expected]
    assert tiles.positions.tolist() == [position for _, position, _ in expected[::tile]]
    beyond = tiles.count % tile
    if beyond:  # padding has empty windows
        assert (tiles.last[-1, beyond:] < tiles.first[-1, beyond:]).all()
    assert tiles.slots(tile).shape == (len(tiles.centers), tile + 2 * tiles.reach)
    assert 1 <= tiles.reach <= job.objective.window
    engine = ReferenceEngine(job)
    for block, hidden in ((0, 1), (1, 6), (3, 20)):
        negatives = sampler.negatives(key, tiles.positions, block, groups=-(-hidden // 6))
        for position, groups in zip(tiles.positions.tolist(), negatives.tolist(), strict=True):
            assert groups == engine._negatives(position, block, hidden, Step(0.025, key))
    return pairs


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_tiles_of_whole_sentences_equal_plain_loops(setting, lengths):
    job, corpus = make_job(**SETTINGS[setting]), make_corpus(LENGTHS[lengths], seed=1)
    pairs = 0
    for size in (1, 6, 25, 1_000):
        for part in corpus.chunks(size, first_position=2**32 - 20):
            pairs += assert_tiles_equal_loops(job, part.chunk, draw_key(3, 0, size))
    if lengths in ("mixed", "one_long_sentence") and setting != "hardly_kept":
        assert pairs > 50
    if lengths in ("one_token_sentences", "empty_sentences"):
        assert pairs == 0


@pytest.mark.parametrize("setting", SETTINGS)
def test_tiles_of_any_cut_equal_plain_loops(setting):
    """Chunks that begin and end anywhere, inside sentences too."""
    job, rng = make_job(**SETTINGS[setting]), np.random.default_rng(4)
    pairs = 0
    for trial in range(40):
        lengths = rng.integers(0, 12, size=rng.integers(1, 9)) * rng.integers(0, 4, size=1)
        corpus = make_corpus(lengths, seed=trial)
        size = len(corpus.token_ids)
        start, stop = sorted(rng.integers(0, size + 1, size=2).tolist())
        if start == stop:
            continue
        chunk = Chunk(corpus.token_ids, corpus.sentence_offsets, start, stop, first_position=trial * 1_000)
        pairs += assert_tiles_equal_loops(job, chunk, draw_key(trial))
    assert pairs > (500 if setting not in ("hardly_kept", "window_1") else 0)


@pytest.mark.parametrize("window", [3, 40, 100])
@pytest.mark.parametrize("skip_gram", [True, False], ids=["sg", "cbow"])
def test_blocks_cover_each_slot_once(skip_gram, window):
    job = make_job(window=window)
    objective = Objective(skip_gram, 5, False, window)
    sampler = Sampler(Job(objective, job.tables, job.plan), torch.device("cpu"))
    blocks = list(sampler.blocks(window))
    assert [number for number, _, _ in blocks] == list(range(len(blocks)))
    assert [slot for _, start, stop in blocks for slot in range(start, stop)] == list(range(16 + 2 * window))
    if not skip_gram:
        assert len(blocks) == 1  # all contexts of a center must meet in one sum
