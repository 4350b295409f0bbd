"""Rung "draws": the counter hash is uniform and the same everywhere; keeps, windows and negatives follow their laws."""

from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from torchw2v import TorchWord2Vec
from torchw2v.constants import UINT32_SPAN
from torchw2v.corpus import EncodedCorpus
from torchw2v.ops.contract import Chunk, Job, Objective, Plan, Tables
from torchw2v.ops.draws import (
    LANE_KEEP,
    LANE_NEGATIVES,
    LANE_WINDOW,
    DrawKey,
    draw_key,
    draws_numpy,
    draws_torch,
    scaled,
)
from torchw2v.ops.sampling import Sampler
from torchw2v.tables import keep_all, noise_probabilities

ALPHA = 1e-4  # chance that one of these fixed-seed tests would have failed with perfect draws
CPU = torch.device("cpu")
KEY = draw_key(1, 0, 0)
POSITIONS = 100_000

BITS = {
    "high_bits": lambda draws: draws >> np.uint32(28),
    "middle_bits": lambda draws: (draws >> np.uint32(14)) & np.uint32(15),
    "low_bits": lambda draws: draws & np.uint32(15),
}


def assert_uniform(values, bins):
    counts = np.bincount(values, minlength=bins)
    assert len(counts) == bins, f"a value of {len(counts) - 1} is outside [0, {bins})"
    assert counts.sum() / bins >= 20
    p_value = stats.chisquare(counts).pvalue
    assert p_value > ALPHA, f"p = {p_value:.2g}, counts {counts}"


def assert_follows(values, probabilities):
    counts = np.bincount(values, minlength=len(probabilities))
    expected = probabilities * len(values)
    assert expected.min() >= 5
    p_value = stats.chisquare(counts, expected).pvalue
    assert p_value > ALPHA, f"p = {p_value:.2g}, counts {counts}, expected {expected.round()}"


def assert_jointly_uniform(left, right, bins=16):
    """Uniform over the cells of a bins x bins board: both are uniform and neither tells about the other."""
    assert_uniform(left.astype(np.int64) * bins + right, bins * bins)


# ---- the hash --------------------------------------------------------------------------------------------------------

STARTS = {"zero": 0, "across_2**31": 2**31 - 25_000, "across_2**32": 2**32 - 25_000, "far": 3 * 2**40 + 12_345}
KEYS = {"small": DrawKey(1, 2), "seeded": draw_key(7, 1, 3), "full": DrawKey(2**32 - 1, 2**31)}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_torch_draws_equal_numpy_draws(start, key):
    positions = start + np.arange(50_000) * 2
    lanes = range(0, 5_000, 129)
    by_numpy = draws_numpy(key, positions[:, None], np.array(lanes))
    by_torch = draws_torch(key, torch.from_numpy(positions), lanes)
    assert by_numpy.dtype == np.uint32 and by_torch.dtype == torch.int64
    assert np.array_equal(by_numpy.astype(np.int64), by_torch.numpy())


@pytest.mark.parametrize("lane", [0, 1, 77])
def test_torch_draws_of_one_lane_equal_its_column(lane):
    positions = torch.arange(1_000) + 2**32 - 500
    one = draws_torch(KEY, positions, lane)
    assert one.shape == (1_000,)
    assert torch.equal(one, draws_torch(KEY, positions, range(lane, lane + 2))[:, 0])
    assert np.array_equal(one.numpy(), draws_numpy(KEY, positions.numpy(), lane))


def test_torch_draws_leave_positions_alone():
    positions = torch.arange(10)
    draws_torch(KEY, positions, 0)
    assert torch.equal(positions, torch.arange(10))


def test_draw_mixes_by_the_murmur3_finalizer():
    """fmix32(1) is 0x514E28B7 (MurmurHash3 of nothing with seed 1); this key leads both rounds through it."""
    known = 0x514E28B7
    key = DrawKey(1, (1 - known) % 2**32)
    assert int(draws_numpy(key, np.array([0]), 0)[0]) == known
    assert int(draws_torch(key, torch.tensor([0]), 0)[0]) == known


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("lane", [LANE_KEEP, LANE_WINDOW, LANE_NEGATIVES, 40])
@pytest.mark.parametrize("start", [0, 2**33 + 5], ids=["low", "beyond_2**32"])
def test_draws_are_uniform(start, lane, bits):
    assert_uniform(BITS[bits](draws_numpy(KEY, start + np.arange(POSITIONS), lane)).astype(np.int64), 16)


def test_draws_are_uniform_in_fine_bins():
    assert_uniform((draws_numpy(KEY, np.arange(POSITIONS), 0) >> np.uint32(20)).astype(np.int64), 2**12)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("lanes", [(0, 1), (0, 2), (1, 2), (2, 3), (2, 18), (17, 18)], ids=str)
def test_lanes_are_independent(lanes, bits):
    left, right = (BITS[bits](draws_numpy(KEY, np.arange(POSITIONS), lane)) for lane in lanes)
    assert_jointly_uniform(left, right)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("distance", [1, 2, 16, 2**16, 2**32], ids=lambda d: f"distance_{d}")
def test_positions_are_independent(distance, bits):
    positions = np.arange(POSITIONS)
    left, right = (BITS[bits](draws_numpy(KEY, where, 0)) for where in (positions, positions + distance))
    assert_jointly_uniform(left, right)


def test_position_and_lane_cannot_stand_for_each_other():
    """Moving one position on and one lane back does not lead to a related draw."""
    positions = np.arange(POSITIONS)
    left, right = draws_numpy(KEY, positions, 3), draws_numpy(KEY, positions + 1, 2)
    assert_jointly_uniform(BITS["high_bits"](left), BITS["high_bits"](right))
    assert (left == right).mean() < 1e-3


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "streams",
    [((1, 0, 0), (1, 0, 1)), ((1, 0, 1), (1, 0, 2)), ((1, 0, 0), (1, 1, 0)), ((1, 0, 0), (2, 0, 0))],
    ids=["epochs_0_1", "epochs_1_2", "train_calls", "seeds"],
)
def test_streams_are_independent(streams, bits):
    left, right = (BITS[bits](draws_numpy(draw_key(*stream), np.arange(POSITIONS), 0)) for stream in streams)
    assert_jointly_uniform(left, right)


def test_draw_key_takes_any_whole_numbers():
    streams = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (-1, 0, 0), (2**63, 0, 0), (2**32 - 1, 0, 0)]
    keys = {draw_key(*stream) for stream in streams}
    assert len(keys) == len(streams)
    assert all(0 <= word < 2**32 for key in keys for word in key)


@pytest.mark.parametrize("bound", [1, 2, 5, 10, 1000])
def test_scaled_is_uniform_below_its_bound(bound):
    values = scaled(draws_numpy(KEY, np.arange(POSITIONS), 1), bound)
    assert values.dtype == np.int64 and values.min() == 0 and values.max() == bound - 1
    if bound > 1:
        assert_uniform(values, bound)


def test_scaled_reaches_its_ends_only():
    assert scaled(np.array([0, 2**31, 2**32 - 1], np.uint32), 10).tolist() == [0, 5, 9]
    assert scaled(np.array([0, 2**32 - 1], np.uint32), 2**31).tolist() == [0, 2**31 - 1]


# ---- the laws, as the sampler produces them --------------------------------------------------------------------------


def make_sampler(thresholds, *, window=5, shrink_windows=True, tile=16, cumulative=None, shared=16):
    ones = np.ones(len(thresholds), np.float32)
    objective = Objective(True, 5 if cumulative is not None else 0, False, window, shrink_windows)
    plan = Plan(tile, 4, 16, shared, True, False, ones, ones, ones)
    return Sampler(Job(objective, Tables(thresholds, cumulative, None), plan), CPU)


def one_sentence(ids, first_position=0):
    ids = np.asarray(ids, dtype=np.int32)
    return Chunk(ids, np.array([0, len(ids)], dtype=np.int64), 0, len(ids), first_position)


def reaches(tiles, tile):
    """Slots to the left and to the right of each center that hold contexts: two int arrays [n]."""
    own = torch.arange(tile) + tiles.reach
    left, right = own - tiles.first, tiles.last - own
    return left.flatten()[: tiles.count].numpy(), right.flatten()[: tiles.count].numpy()


def pairs_of(tiles, tile):
    """How often each (center word, context word) is trained. With distinct words these are pairs of positions."""
    pairs = Counter()
    slots = tiles.slots(tile).numpy()
    for t, centers in enumerate(tiles.centers.numpy()):
        for i, center in enumerate(centers):
            for slot in range(int(tiles.first[t, i]), int(tiles.last[t, i]) + 1):
                if slot != tiles.reach + i:
                    pairs[int(center), int(slots[t, slot])] += 1
    return pairs


def test_keep_rates_follow_thresholds():
    thresholds = np.array([0.02, 0.1, 0.5, 0.9, 0.99, 1.0]) * (UINT32_SPAN - 1)
    thresholds = thresholds.astype(np.uint32)
    ids = np.random.default_rng(0).integers(0, 6, size=60_000)
    sampler = make_sampler(thresholds)
    tiles = sampler.tiles(one_sentence(ids), KEY)
    kept = np.bincount(tiles.centers.flatten()[: tiles.count], minlength=6)
    given = np.bincount(ids, minlength=6)
    assert kept[-1] == given[-1]  # the highest threshold keeps every token
    chances = (thresholds[:-1].astype(np.float64) + 1) / UINT32_SPAN
    for word, chance in enumerate(chances):
        p_value = stats.binomtest(int(kept[word]), int(given[word]), chance).pvalue
        assert p_value > ALPHA, f"word {word}: kept {kept[word]} of {given[word]}, expected {chance:.3f}"


def test_threshold_zero_drops_every_token():
    tiles = make_sampler(np.array([0, UINT32_SPAN - 1], np.uint32)).tiles(one_sentence([0, 1] * 500), KEY)
    assert tiles.count == 500
    assert (tiles.centers.flatten()[:500] == 1).all()


def test_keeps_follow_gensims_sample_int():
    model = TorchWord2Vec(min_count=1, sample=1e-2)
    model.build_vocab_from_freq({f"w{i}": 20_000 // (i + 1) for i in range(20)})
    thresholds = model.wv.expandos["sample_int"]
    counts = model.wv.expandos["count"]
    ids = np.random.default_rng(1).permutation(np.repeat(np.arange(20), counts))
    tiles = make_sampler(thresholds).tiles(one_sentence(ids), KEY)
    kept = np.bincount(tiles.centers.flatten()[: tiles.count], minlength=20)
    chances = (thresholds.astype(np.float64) + 1) / UINT32_SPAN
    free = chances < 1 - 1e-9
    assert free.sum() > 3 and np.array_equal(kept[~free], counts[~free])
    deviations = (kept - counts * chances)[free] ** 2 / (counts * chances * (1 - chances))[free]
    assert stats.chi2.sf(deviations.sum(), free.sum()) > ALPHA


def test_epochs_keep_different_tokens():
    half = np.full(2_000, UINT32_SPAN // 2, np.uint32)
    chunk = one_sentence(np.arange(2_000))
    kept = [set(make_sampler(half).tiles(chunk, draw_key(1, 0, e)).centers.flatten().tolist()) for e in (0, 1)]
    assert len(kept[0] & kept[1]) == pytest.approx(500, abs=100)


@pytest.mark.parametrize("window", [1, 2, 5, 7, 40])
def test_windows_are_uniform(window):
    size = 20_000
    tiles = make_sampler(keep_all(size), window=window).tiles(one_sentence(np.arange(size)), KEY)
    left, right = reaches(tiles, 16)
    middle = slice(window, size - window)
    assert np.array_equal(left[middle], right[middle])
    assert left[middle].min() == 1 and left[middle].max() == window
    if window > 1:
        assert_uniform(left[middle].astype(np.int64) - 1, window)


def test_windows_are_independent_of_keeps():
    """Among kept tokens, whose keep draws are small, windows are as uniform as among all."""
    thresholds = np.full(60_000, UINT32_SPAN // 10, np.uint32)
    tiles = make_sampler(thresholds, window=5).tiles(one_sentence(np.arange(60_000)), KEY)
    left, _ = reaches(tiles, 16)
    assert_uniform(left[5:-5].astype(np.int64) - 1, 5)


@pytest.mark.parametrize("window", [1, 5, 33])
def test_windows_are_full_without_shrinking(window):
    size = 500
    tiles = make_sampler(keep_all(size), window=window, shrink_windows=False).tiles(one_sentence(np.arange(size)), KEY)
    left, right = reaches(tiles, 16)
    assert np.array_equal(left, np.minimum(np.arange(size), window))
    assert np.array_equal(right, np.minimum(np.arange(size)[::-1], window))


@pytest.mark.parametrize("ns_exponent", [0.75, 0, 1, -0.5])
def test_negatives_follow_count_power(ns_exponent):
    model = TorchWord2Vec(min_count=1, ns_exponent=ns_exponent)
    model.build_vocab_from_freq({f"w{i}": 3_000 // (i + 1) for i in range(30)})
    counts = model.wv.expandos["count"].astype(np.float64)
    law = counts**ns_exponent / (counts**ns_exponent).sum()
    assert noise_probabilities(model.cum_table) == pytest.approx(law, abs=1e-9)
    sampler = make_sampler(keep_all(30), cumulative=model.cum_table, shared=16)
    drawn = sampler.negatives(KEY, torch.arange(0, 16 * 4_000, 16), block=0, groups=1)
    assert drawn.shape == (4_000, 1, 16)
    assert_follows(drawn.flatten().numpy(), law)


def test_negatives_of_neighbours_are_independent():
    cumulative = (np.arange(1, 17) * ((2**31 - 1) / 16)).round().astype(np.uint32)
    sampler = make_sampler(keep_all(16), cumulative=cumulative, shared=8)
    steps = torch.arange(0, 16 * 8_000, 16)
    drawn, next_block = (sampler.negatives(KEY, steps, block=block, groups=2).numpy() for block in (0, 1))  # [k, 2, 8]
    assert_jointly_uniform(drawn[..., :-1].flatten(), drawn[..., 1:].flatten())  # in one group
    assert_jointly_uniform(drawn[:, 0].flatten(), drawn[:, 1].flatten())  # in two groups of a step
    assert_jointly_uniform(drawn[:-1].flatten(), drawn[1:].flatten())  # in successive steps
    assert_jointly_uniform(drawn.flatten(), next_block.flatten())  # in successive blocks of one step


@pytest.mark.parametrize("shrink_windows", [True, False], ids=["reduced", "full"])
def test_no_context_lies_across_a_sentence_end(shrink_windows):
    rng = np.random.default_rng(2)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 9, size=200))])
    size = int(offsets[-1])
    sentence_of = np.repeat(np.arange(200), np.diff(offsets))
    thresholds = np.full(size, int(0.8 * UINT32_SPAN), np.uint32)
    sampler = make_sampler(thresholds, shrink_windows=shrink_windows)
    pairs = pairs_of(sampler.tiles(Chunk(np.arange(size, dtype=np.int32), offsets, 0, size, 0), KEY), 16)
    assert len(pairs) > size
    assert max(pairs.values()) == 1
    assert all(sentence_of[center] == sentence_of[context] and center != context for center, context in pairs)


@pytest.mark.parametrize("size", [1, 7, 100, 1_000])
@pytest.mark.parametrize("keep", [1.0, 0.3], ids=["all_kept", "subsampled"])
def test_cut_sentence_trains_each_pair_once(size, keep):
    """Chunks inside one long sentence look across their cuts: together they train the pairs of the whole."""
    length = 600
    thresholds = np.full(length, int(keep * (UINT32_SPAN - 1)), np.uint32)
    sampler = make_sampler(thresholds, window=4)
    offsets = np.array([0, length], dtype=np.int64)
    corpus = EncodedCorpus(np.arange(length, dtype=np.int32), offsets, offsets)
    whole = sampler.tiles(one_sentence(np.arange(length), first_position=2**32 - 300), KEY)
    union, effective = Counter(), 0
    parts = list(corpus.chunks(size, first_position=2**32 - 300))
    assert len(parts) == -(-length // size)
    for part in parts:
        tiles = sampler.tiles(part.chunk, KEY)
        if tiles is not None:
            union += pairs_of(tiles, 16)
            effective += tiles.count
    expected = pairs_of(whole, 16)
    assert len(expected) > 2 * whole.count and set(expected.values()) == {1}
    assert union == expected
    assert effective == whole.count
