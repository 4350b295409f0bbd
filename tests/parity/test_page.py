"""docs/parity.md says what is true of the two classes, and every difference has its reason."""

import pytest

from compat import parity
from compat.parity import BEGIN, END, PAGE, ParityError, generated, renewed
from torchw2v import TorchWord2Vec


def test_page_is_not_stale():
    page = PAGE.read_text(encoding="utf-8")
    assert renewed(page) == page, "run python -m compat.parity"


def test_tables_name_what_the_classes_have():
    text = generated()
    for row in (
        "| `_train_epoch` | gensim's |",
        "| `load` | gensim's and `device=None`, `engine=None` |",
        "`min_count=5`",
    ):
        assert row in text
    inherited = text.split("### Inherited\n")[1].split("\n\n")[0]
    assert "`build_vocab`" in inherited and "`train`" not in inherited


def test_stale_page_is_found_and_renewed(tmp_path, monkeypatch, capsys):
    page = tmp_path / "parity.md"
    page.write_text(f"before\n{BEGIN}\noutdated words\n{END}\nafter\n")
    monkeypatch.setattr(parity, "PAGE", page)
    monkeypatch.setattr("sys.argv", ["parity", "--check"])
    assert parity.main() == 1 and "outdated words" in page.read_text() and "stale" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["parity"])
    assert parity.main() == 0
    text = page.read_text()
    assert (
        text.startswith("before\n")
        and text.endswith("\nafter\n")
        and generated() in text
        and "outdated words" not in text
    )
    monkeypatch.setattr("sys.argv", ["parity", "--check"])
    assert parity.main() == 0


class Overriding(TorchWord2Vec):
    def score(self, sentences, total_sentences=int(1e6), chunksize=100, queue_factor=2, report_delay=1):
        return super().score(sentences, total_sentences, chunksize, queue_factor, report_delay)


class Adding(TorchWord2Vec):
    def extra(self):
        return 1


class AddingAnAttribute(TorchWord2Vec):
    def __init__(self, *sentences, **settings):
        self.extra = 1
        super().__init__(*sentences, **settings)


class OtherDefault(TorchWord2Vec):
    def get_latest_training_loss(self, scale=1.0):
        return scale * super().get_latest_training_loss()


class MissingParameter(TorchWord2Vec):
    def predict_output_word(self, context_words_list):
        return super().predict_output_word(context_words_list)


class OtherType(TorchWord2Vec):
    def _clear_post_train(self):
        super()._clear_post_train()
        self.train_count = float(self.train_count)


class WithoutAttribute(TorchWord2Vec):
    def _clear_post_train(self):
        super()._clear_post_train()
        self.__dict__.pop("total_train_time", None)
        type(self).total_train_time = 0.0


DIFFERENCES = {
    Overriding: "score differs",
    Adding: "extra differs.*ADDED",
    AddingAnAttribute: "extra differs.*ADDED",
    OtherDefault: "scale must be keyword-only",
    MissingParameter: "predict_output_word.*does not keep",
    OtherType: "train_count differs.*ATTRIBUTES",
    WithoutAttribute: "no total_train_time",
}


@pytest.mark.parametrize("ours", DIFFERENCES, ids=lambda ours: ours.__name__)
def test_difference_without_a_reason_is_an_error(ours, monkeypatch):
    for name in ("_clear_post_train", "__init__"):  # what the examples need, explained
        monkeypatch.setitem(parity.OVERRIDDEN, name, "an example")
    monkeypatch.setattr(parity, "added_parameters", _no_constructor(parity.added_parameters))
    with pytest.raises(ParityError, match=DIFFERENCES[ours]):
        generated(ours)


def _no_constructor(check):
    return lambda name, ours, gensims: [] if name == "__init__" else check(name, ours, gensims)


@pytest.mark.parametrize("table", ["OVERRIDDEN", "ADDED", "ATTRIBUTES"])
def test_reason_for_what_does_not_differ_is_an_error(table, monkeypatch):
    monkeypatch.setitem(getattr(parity, table), "build_vocab", "no longer")
    with pytest.raises(ParityError, match=f"build_vocab in {table}"):
        generated()


def test_empty_reason_is_none(monkeypatch):
    monkeypatch.setitem(parity.OVERRIDDEN, "train", " ")
    with pytest.raises(ParityError, match="train differs"):
        generated()


def test_page_without_the_markers_is_an_error():
    with pytest.raises(ParityError, match="must have one line"):
        renewed("# Parity\n")
