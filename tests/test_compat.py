"""The proof from outside works: swapped classes, strict expectations, who trained; signatures of the supported gensims.

The whole proof takes minutes: `python -m compat.run`, or `pytest -m compat`.
"""

import dataclasses
import inspect
import json
import re
from pathlib import Path

import pytest
from gensim.models.word2vec import Word2Vec

pytest.importorskip("yaml", reason="compat.run needs torchw2v[test]")

from compat import run, signatures, versions
from compat.run import TESTS, Outcome, expected_failures, run_side, verdict
from compat.witness import ENGINES, ROUTINES, SIDES, Counts

OURS = Counts(constructed=1, epochs=5, effective_words=100, engines={"numba": 5})
THEIRS = Counts(gensim_calls=dict.fromkeys(ROUTINES, 1))


def outcome(counts, failures=(), **more):
    return Outcome({"passed": 3, "xfailed": 0, "failed": len(failures), "skipped": 0}, list(failures), counts, **more)


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_signatures_of_the_installed_gensim_are_those_of_the_snapshot():
    entry = versions.installed()
    assert signatures.differences(json.loads(entry.signatures.read_text()), signatures.signatures(Word2Vec)) == []


def test_every_call_that_fits_gensims_methods_fits_ours():
    assert signatures.misfits() == []


@pytest.mark.parametrize(
    ("ours", "fits"),
    [("a, b=1, *, c=2", True), ("a, b=1, *, c", False), ("a, b=1, c=2", False), ("a, b=2", False), ("a", False),
     ("b=1, a=None", False), ("a, b=1, **kwargs", False)],
)  # fmt: skip
def test_signature_that_would_break_a_call_is_noticed(ours, fits):
    def parameters(text):
        scope = {}
        exec(f"def f({text}): ...", scope)
        return list(inspect.signature(scope["f"]).parameters.values())

    assert signatures._fits(parameters("a, b=1"), parameters(ours)) is fits


def test_changed_and_missing_methods_are_named():
    found = signatures.differences({"a": "(x)", "b": "()"}, {"a": "(x, y)", "c": "()"})
    assert [line.split(":")[0] for line in found] == ["a", "b", "c"]


def test_oldest_supported_gensim_is_the_lower_bound_of_the_package():
    text = (Path(__file__).parent.parent / "pyproject.toml").read_text()
    oldest = versions.supported()[0].version
    assert oldest.startswith(re.search(r'"gensim>=([\d.]+)', text)[1])
    assert f"gensim=={versions.supported()[-1].version}\n" in (versions.FILE.parent / "constraints.txt").read_text()


# ---- the run ---------------------------------------------------------------------------------------------------------


def test_gensims_test_files_are_found():
    names = {path.name for path in run.test_files()}
    assert {"test_word2vec.py", "test_keyedvectors.py", "test_fasttext.py", "test_doc2vec.py"} <= names


@pytest.mark.parametrize("side", SIDES)
def test_gensims_tests_pass_and_the_counts_say_who_trained(side):
    pytest.importorskip("testfixtures", reason="gensim's tests import it; torchw2v[test]")
    done = run_side(side, [TESTS / "test_word2vec.py"], ["-k", "test_training or test_rng or test_persistence"])
    assert done.complete and not done.failures and done.tests["passed"] >= 6
    assert verdict({side: done}) == []
    assert [done.counts.proves_ours(engine) for engine in ENGINES] == [side == engine for engine in ENGINES]
    assert done.counts.proves_gensim() is (side == "gensim")


SAMPLE = """
from gensim.models import Word2Vec
from gensim.test.utils import common_texts

def train():
    return Word2Vec(common_texts, vector_size=4, min_count=1)

def test_passes():
    train()

def test_fails():
    assert not hasattr(train(), "training_history")

class TestClass:
    def test_error(self, no_such_fixture):
        pass
"""


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "test_sample.py"
    path.write_text(SAMPLE)

    def go(side, entries="[]"):
        (tmp_path / "xfail.yaml").write_text(entries)
        return run_side(side, [path], expected=tmp_path / "xfail.yaml")

    return go


def entry(test, reason="differs"):
    return f"- {{test: '{test}', reason: '{reason}'}}\n"


def test_failures_and_errors_are_counted_and_named(sample):
    theirs, ours = sample("gensim"), sample("numba")
    assert theirs.failures == ["test_sample.py::TestClass::test_error"] and theirs.tests["passed"] == 2
    assert ours.failures == ["test_sample.py::test_fails", "test_sample.py::TestClass::test_error"]
    assert verdict({"gensim": theirs, "numba": ours}) == ["failed with our class on numba: test_sample.py::test_fails"]


def test_expected_failure_is_counted_apart(sample):
    ours = sample("numba", entry("test_sample.py::test_fails"))
    assert ours.tests == {"passed": 1, "xfailed": 1, "failed": 1, "skipped": 0}


def test_expected_failure_that_passes_is_a_failure(sample):
    assert "test_sample.py::test_passes" in sample("numba", entry("test_sample.py::test_passes")).failures


def test_expected_failure_that_names_no_test_is_an_error(sample):
    ours = sample("numba", entry("test_sample.py::test_gone"))
    assert not ours.complete and "numba: pytest did not finish" in verdict({"numba": ours})


@pytest.mark.parametrize("text", ["- {test: a}", "- {test: a, reason: ' '}", entry("a") + entry("a"), "- {reason: b}"])
def test_entry_without_a_reason_or_twice_is_refused(text):
    with pytest.raises(ValueError, match=r"xfail\.yaml"):
        expected_failures(text)


@pytest.mark.parametrize(
    "change",
    [{"constructed": 0}, {"epochs": 0, "engines": {}}, {"effective_words": 0}, {"gensim_calls": {"a": 1}},
     {"engines": {"torch": 5}}, {"engines": {"numba": 4, "torch": 1}}],
)  # fmt: skip
def test_run_without_proof_of_who_trained_is_an_error(change):
    ours = outcome(dataclasses.replace(OURS, **change), complete=True)
    assert any("no proof" in line for line in verdict({"numba": ours}))
    assert verdict({"numba": outcome(OURS, complete=True)}) == []


def test_control_that_saw_no_gensim_is_an_error():
    assert any("control" in line for line in verdict({"gensim": outcome(Counts(), complete=True)}))


def test_failure_on_both_sides_is_not_held_against_ours():
    sides = {"gensim": outcome(THEIRS, ["t"], complete=True), "numba": outcome(OURS, ["t"], complete=True)}
    assert verdict(sides) == []


@pytest.mark.compat
def test_gensims_own_tests_pass_with_our_class():
    assert run.main([]) == 0
