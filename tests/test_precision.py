"""`python -m compat.precision` cuts factors as tensor cores do, nothing else, and trains with the kernels' plan."""

import csv

import numpy as np
import pytest
import torch
from gensim.test.utils import datapath

from compat.bench import QUALITIES
from compat.gpu_runs import Text
from compat.precision import CutProducts, cut, main, table, train
from torchw2v.gensim_state import counts_of, objective_of, tables_of
from torchw2v.schedule import make_plan


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("precision") / "lee.txt"
    with open(datapath("lee_background.cor"), encoding="utf-8") as lines:
        path.write_text("".join(lines), "utf-8")
    return Text.read(path, 20_000)


def test_factors_keep_ten_bits_of_mantissa():
    whole = torch.tensor([1.0, 1 + 2**-10, 1 + 2**-11, -1 - 2**-10 - 2**-11, 3e-39, 0.0])
    assert cut(whole).tolist()[:4] == [1.0, 1 + 2**-10, 1.0, -1 - 2**-10]
    numbers = torch.randn(1000)
    assert ((cut(numbers) - numbers).abs() < 2**-10 * numbers.abs()).all()
    assert (cut(numbers).abs() <= numbers.abs()).all() and (cut(numbers) != numbers).any()


def test_products_are_those_of_cut_factors_and_sums_are_whole():
    a, b, added = torch.randn(3, 5, 7), torch.randn(3, 7, 4), torch.randn(3, 5, 4)
    out = torch.empty(3, 5, 4)
    with CutProducts():
        found = torch.bmm(a, b), torch.baddbmm(added, a, b), a[0] @ b[0], added * added.sum()
        torch.bmm(a, b, out=out)
        double = a.double() @ b.double()
    product = torch.bmm(cut(a), cut(b))
    for had, wanted in zip(found, (product, added + product, product[0]), strict=False):
        torch.testing.assert_close(had, wanted, rtol=0, atol=1e-5)  # seven terms, summed in another order
    assert torch.equal(out, product) and not torch.allclose(product, torch.bmm(a, b), rtol=0, atol=1e-5)
    assert torch.equal(found[3], added * added.sum()) and torch.equal(double, a.double() @ b.double())


@pytest.mark.parametrize("mode", ["sg-ns", "cbow-ns", "sg-hs", "cbow-hs"])
def test_both_precisions_train_the_same_steps_and_differ_a_little(text, mode):
    whole, with_cut = (train(text, mode, 1, p, vector_size=16, epochs=2) for p in ("float32", "tf32"))
    plan = make_plan(
        objective_of(whole), tables_of(whole), counts_of(whole), threads=1,
        epoch_tokens=int(counts_of(whole).sum()), on_device=True, fused=True,
    )  # fmt: skip
    assert (whole.plan.step_tiles, whole.plan.overlap) == (plan.step_tiles, plan.overlap)
    assert with_cut.plan.step_tiles == plan.step_tiles
    apart = np.abs(whole.wv.vectors - with_cut.wv.vectors).max()
    moved = np.abs(whole.wv.vectors - train(text, mode, 1, "float32", vector_size=16, epochs=1).wv.vectors).max()
    assert 0 < apart < moved / 10  # factors are off by 0.1 % at most, but training multiplies what is off


def test_snapshots_are_smaller_than_steps_on_request(text):
    trained = [train(text, "sg-hs", 1, "float32", snapshot=n, vector_size=16, epochs=1) for n in (None, 10**6, 32)]
    assert len({model.plan.step_tiles for model in trained}) == 1  # row caps are those of the plan
    steps, more, snapshots = (model.wv.vectors for model in trained)
    assert np.array_equal(steps, more) and not np.allclose(steps, snapshots)


def test_table_gives_the_mean_difference_of_a_seed_and_its_error():
    scores = {("float32", 1): 0.5, ("float32", 2): 0.6, ("tf32", 1): 0.51, ("tf32", 2): 0.63}
    rows = [
        {"mode": "sg-ns", "precision": precision, "seed": seed} | dict.fromkeys(QUALITIES, value)
        for (precision, seed), value in scores.items()
    ]
    assert "| sg-ns | difference | +0.0200 ± 0.0100 |" in table(rows)
    assert "| sg-ns | float32 | 0.5500 |" in table(rows) and "| sg-ns | tf32 | 0.5700 |" in table(rows)


def test_the_command_trains_with_the_steps_asked_for_and_writes_rows(tmp_path, capsys):
    rows = tmp_path / "rows.csv"
    words = ["--corpus", datapath("lee_background.cor"), "--words", "20000", "--modes", "cbow-ns", "--seeds", "1"]
    words += ["--epochs", "1", "--vector-size", "8"]
    main([*words, "--in-flight", "32", "--snapshot", "5", "--csv", str(rows)])
    with rows.open(newline="") as lines:
        columns = ("mode", "precision", "step_tokens", "snapshot_tokens")
        found = [tuple(row[name] for name in columns) for row in csv.DictReader(lines)]
    assert found == [("cbow-ns", precision, "32", "16") for precision in ("float32", "tf32")]  # a tile at least
    assert "| cbow-ns | difference |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--precisions", "bf16"], "unknown precision 'bf16'; choose from float32, tf32"),
        (["--modes", "sg"], "unknown mode 'sg'"),
        (["--in-flight", "0"], "'0' is not a whole number above 0"),
    ],
)
def test_wrong_arguments_are_named(wrong, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--corpus", __file__, *wrong])
    assert message in capsys.readouterr().err
