"""Figures: what they show is what they were given, and labels never overlap."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from small_models import TOPICS, ours

from torchw2v import plot
from torchw2v.errors import NothingToPlotError, SettingError, UnknownKeyError
from torchw2v.plot import labels
from torchw2v.plot.frequency import medians
from torchw2v.plot.maps import principal_plane

ROWS = Path(__file__).parent.parent / "docs" / "benchmarks" / "2026-11-21-cpu-enwiki-6m.csv"


@pytest.fixture(autouse=True)
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


@pytest.fixture(scope="module")
def model():
    return ours(TOPICS, sg=1, epochs=5)


def boxes_of(figure, axis):
    """Where the labels' letters are, in pixels: [n, 4]."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    return np.array([text.get_window_extent(renderer).extents for text in letters(axis)])


def letters(axis):
    from matplotlib.text import Text

    class Letters:
        """An annotation without its line."""

        def __init__(self, text):
            self.text = text

        def get_window_extent(self, renderer):
            return Text.get_window_extent(self.text, renderer)

    return [Letters(text) for text in axis.texts]


def assert_apart(boxes, slack=0.5):
    """No two boxes overlap by more than the rounding of pixels."""
    for number, box in enumerate(boxes):
        others = np.delete(boxes, number, axis=0)
        deep = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
        assert not (deep > slack).all(1).any()


def vectors_of(size, width=8, seed=3):
    draw = np.random.default_rng(seed)
    vectors = KeyedVectors(width)
    vectors.add_vectors([f"word{number}" for number in range(size)], draw.normal(size=(size, width)))
    vectors.expandos["count"] = draw.integers(1, 10**5, size)
    return vectors


# ---- labels ------------------------------------------------------------------------------------------------------

PANEL = np.array([0.0, 0.0, 500.0, 400.0])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [1.0, 0.2])
def test_placed_labels_overlap_neither_each_other_nor_the_edge(seed, spread):
    draw = np.random.default_rng(seed)
    points = np.array([250, 200]) + (draw.random((40, 2)) - 0.5) * np.array([480, 380]) * spread
    sizes = np.stack([draw.uniform(15, 60, 40), np.full(40, 10.0)], 1)
    corners = labels.place(points, sizes, PANEL, radius=2.5)
    assert np.isfinite(corners).all()
    boxes = np.concatenate([corners, corners + sizes], 1)
    aside = np.array([labels.BETWEEN / 2, 0])
    assert_apart(np.concatenate([corners - aside, corners + sizes + aside], 1), slack=1e-9)  # nor do two read as one
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= PANEL[2:]).all()
    assert np.array_equal(corners, labels.place(points, sizes, PANEL, radius=2.5))


def test_label_of_a_lonely_point_stands_right_beside_it():
    corner = labels.place(np.array([[100.0, 100.0]]), np.array([[30.0, 10.0]]), PANEL, radius=2.0)[0]
    assert corner == pytest.approx([100 + 2 + labels.GAP, 95])
    at_the_edge = labels.place(np.array([[498.0, 100.0]]), np.array([[30.0, 10.0]]), PANEL, radius=2.0)[0]
    assert at_the_edge[0] + 30 < 498


def test_labels_avoid_points_without_labels():
    points = np.array([[100.0, 100.0], [112.0, 100.0]])
    corner = labels.place(points, np.array([[30.0, 10.0], [0.0, 0.0]]), PANEL, radius=2.0)[0]
    covers = (corner < points[1] + 2).all() and (corner + np.array([30, 10]) > points[1] - 2).all()
    assert not covers


def test_labels_without_room_are_left_out_and_named(model, caplog):
    corners = labels.place(np.full((3, 2), 20.0), np.full((3, 2), 30.0), np.array([0.0, 0.0, 50.0, 40.0]), radius=1.0)
    assert np.isnan(corners).any()
    with caplog.at_level(logging.WARNING, logger="torchw2v"):
        figure = plot.word_map(vectors_of(300), vectors_of(300).index_to_key, figsize=(2, 2))
    assert "no room for" in caplog.text and "larger figsize" in caplog.text
    assert 0 < len(figure.axes[0].texts) < 300
    assert_apart(boxes_of(figure, figure.axes[0]))


# ---- the map -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3, 30, 120])
def test_map_shows_every_word_once_and_apart(size):
    vectors = vectors_of(size)
    figure = plot.word_map(vectors, vectors.index_to_key)
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.texts] == vectors.index_to_key
    assert len(axis.collections[0].get_offsets()) == size
    assert_apart(boxes_of(figure, axis))


def test_label_is_written_beside_its_own_point(model):
    words = model.wv.index_to_key
    axis = plot.word_map(model.wv, words).axes[0]
    points = axis.collections[0].get_offsets()
    for number, text in enumerate(axis.texts):
        assert np.allclose(text.xy, points[number])


def test_map_is_the_same_each_time(model):
    first, second = (plot.word_map(model.wv, model.wv.index_to_key).axes[0] for _ in range(2))
    assert [text.get_position() for text in first.texts] == [text.get_position() for text in second.texts]


def test_principal_plane_keeps_distances_of_a_plane():
    draw = np.random.default_rng(0)
    flat = draw.normal(size=(20, 2)) * [5, 1]
    turned = flat @ np.linalg.qr(draw.normal(size=(7, 7)))[0][:2] + 3
    plane, share = principal_plane(turned)
    assert np.allclose(np.linalg.norm(plane[:, None] - plane, axis=2), np.linalg.norm(flat[:, None] - flat, axis=2))
    assert share.sum() == pytest.approx(1) and share[0] > share[1]
    assert np.allclose(principal_plane(-turned)[0], -plane) or np.allclose(
        np.abs(principal_plane(-turned)[0]), np.abs(plane)
    )
    assert (plane[np.abs(plane).argmax(0), [0, 1]] > 0).all()


def test_topics_lie_apart_on_the_map(model):
    points = plot.word_map(model.wv, model.wv.index_to_key).axes[0].collections[0].get_offsets()
    of_x = np.array([word[0] == "x" for word in model.wv.index_to_key])
    assert abs(points[of_x, 0].mean() - points[~of_x, 0].mean()) > points[of_x, 0].std() + points[~of_x, 0].std()


def test_groups_are_colors_and_a_legend(model):
    words = model.wv.index_to_key
    figure = plot.word_map(model.wv, words, groups={word: word[0] for word in words})
    assert sorted(text.get_text() for text in figure.axes[0].get_legend().texts) == ["x", "y"]
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == len(words)
    colors = {tuple(points.get_facecolor()[0]) for points in figure.axes[0].collections}
    assert len(colors) == 2


def test_other_coordinates_and_axes_can_be_given(model, pyplot):
    places = np.arange(2.0 * len(model.wv)).reshape(-1, 2)
    figure, axes = pyplot.subplots(1, 2)
    assert plot.word_map(model.wv, model.wv.index_to_key, coordinates=places, label=False, axis=axes[1]) is figure
    assert np.array_equal(axes[1].collections[0].get_offsets(), places)
    assert not axes[1].texts and not axes[0].collections


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"words": []}, NothingToPlotError, "no words to draw"),
        ({"words": ["x0", "nowhere"]}, UnknownKeyError, "nowhere"),
        ({"words": ["x0"], "groups": {}}, SettingError, "no group of 1 words"),
        ({"words": ["x0"], "coordinates": np.zeros((2, 2))}, SettingError, r"shape \(2, 2\), expected \(1, 2\)"),
    ],
)
def test_map_of_what_is_not_there_is_refused(model, arguments, error, message):
    with pytest.raises(error, match=message):
        plot.word_map(model.wv, **arguments)


# ---- frequency and norm ------------------------------------------------------------------------------------------


def test_points_are_counts_and_lengths(model):
    axis = plot.frequency_and_norm(model.wv, words=["x0", "y3"]).axes[0]
    points = np.asarray(axis.collections[0].get_offsets())
    expected = [(model.wv.get_vecattr(w, "count"), np.linalg.norm(model.wv[w])) for w in model.wv.index_to_key]
    assert np.allclose(points, expected)
    assert axis.get_xscale() == "log"
    assert [text.get_text() for text in axis.texts] == ["x0", "y3"]


def test_many_words_become_a_density():
    vectors = vectors_of(3000)
    figure = plot.frequency_and_norm(vectors)
    cells = figure.axes[0].collections[0]
    assert np.asarray(cells.get_array()).sum() == 3000
    assert figure.axes[1].get_ylabel() == "words"


def test_medians_are_those_of_words_of_similar_counts():
    counts = np.repeat([1.0, 10.0, 1000.0, 5000.0], [50, 40, 30, 2])
    lengths = np.repeat([1.0, 2.0, 5.0, 99.0], [50, 40, 30, 2])
    lengths[0] = 1000  # one among fifty
    assert medians(counts, lengths).tolist() == [[1, 1], [10, 2], [1000, 5]]
    assert medians(np.ones(3), np.ones(3)).shape == (0, 2)


def test_vectors_without_counts_are_refused(model):
    bare = KeyedVectors(3)
    bare.add_vectors(["a"], np.ones((1, 3)))
    for vectors in (bare, KeyedVectors(3)):
        with pytest.raises(NothingToPlotError, match="counts"):
            plot.frequency_and_norm(vectors)
    with pytest.raises(UnknownKeyError, match="nowhere"):
        plot.frequency_and_norm(model.wv, words=["nowhere"])


# ---- benchmarks --------------------------------------------------------------------------------------------------


def bars(axis):
    return {container.get_label(): [bar.get_height() for bar in container] for container in axis.containers}


def test_bars_are_medians_with_a_dot_for_each_run():
    rows = [
        {"mode": mode, "side": side, "speed": speed}
        for mode, side, speeds in [
            ("one", "torchw2v", [40, 10, 30]), ("one", "gensim", [10, 20, 5]), ("two", "torchw2v", ["7"]),
        ]
        for speed in speeds
    ]  # fmt: skip
    axis = plot.benchmark_bars(rows, ["speed"]).axes[0]
    assert bars(axis) == {"gensim": [10], "torchw2v": [30, 7]}
    assert sorted(float(value) for line in axis.lines for value in line.get_ydata()) == [5, 7, 10, 10, 20, 30, 40]
    assert [text.get_text() for text in axis.texts] == ["3.00\N{MULTIPLICATION SIGN}"]
    assert axis.get_ylim()[0] == 0
    assert axis.get_ylabel() == "speed"


def test_file_of_the_benchmark_is_drawn():
    figure = plot.benchmark_bars(ROWS, ["raw_words_per_s", "wordsim353", "simlex999", "analogies"])
    assert [axis.get_ylabel() for axis in figure.axes] == [
        "raw words/s", "WordSim-353", "SimLex-999", "analogies solved",
    ]  # fmt: skip
    assert all(len(heights) == 4 for heights in bars(figure.axes[0]).values())
    assert len(figure.axes[0].texts) == 4
    assert sum(len(line.get_ydata()) for line in figure.axes[1].lines) == 24


@pytest.mark.parametrize(
    ("rows", "values", "error", "message"),
    [
        ([], ["speed"], NothingToPlotError, "no benchmark rows"),
        (
            [{"mode": "a", "side": "b"}],
            ["speed"],
            SettingError,
            r"no column \['speed'\]; the rows have \['mode', 'side'\]",
        ),
        ([{"mode": "a", "side": "b", "speed": ""}], ["speed"], SettingError, "holds '', which is no number"),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused(rows, values, error, message):
    with pytest.raises(error, match=message):
        plot.benchmark_bars(rows, values)


# ---- the house ---------------------------------------------------------------------------------------------------


def test_old_name_of_the_training_curve_stays():
    from torchw2v.plotting import plot_history

    assert plot_history is plot.plot_history is plot.training_curve


def test_importing_the_functions_does_not_import_matplotlib():
    code = "import sys, torchw2v.plot, torchw2v.plotting; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "draw",
    [
        lambda vectors: plot.word_map(vectors, vectors.index_to_key),
        plot.frequency_and_norm,
        lambda vectors: plot.benchmark_bars(ROWS),
    ],
    ids=["map", "frequency", "bars"],
)
def test_missing_matplotlib_is_named_with_the_extra(draw, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install 'torchw2v\[plot\]'"):
        draw(vectors_of(5))
