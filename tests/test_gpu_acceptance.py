"""`python -m compat.gpu` does what it says, tried at tiny sizes on a CPU, and its figures are those that it names."""

import csv
import gzip
import importlib.util
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from gensim.test.utils import datapath

from compat import gpu, gpu_runs, gpu_sweep
from compat.analogies import analogies
from compat.bench import MODES, QUALITIES
from compat.gpu_sweep import Variation
from compat.ids import IdSentences, IdWord2Vec
from compat.report import COLUMNS
from compat.roofline import bytes_per_token, datasheet_bandwidth, rows_per_token
from compat.zipf import LONGEST, SHORTEST, expected_counts, prefix, quantiles, zipf_corpus
from torchw2v import schedule
from torchw2v.ops.contract import Objective

ZIPF_WORDS = 100_000


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Exit code, rows and the folder of one run."""
    folder = tmp_path_factory.mktemp("acceptance")
    rows, picture = folder / "rows.csv", folder / "roofline.png"
    code = gpu.main(["--smoke", "--zipf-words", str(ZIPF_WORDS), "--csv", str(rows), "--plot", str(picture)])
    with rows.open(newline="") as lines:
        return code, list(csv.DictReader(lines)), folder


def test_smoke_ends_well_and_writes_every_column(smoke):
    code, rows, folder = smoke
    assert code == 0
    assert all(tuple(row) == COLUMNS for row in rows)
    assert all(row[name] for row in rows for name in ("cpu", "python", "torch", "triton", "gensim", "commit", "date"))
    assert (folder / "roofline.png").exists() == (importlib.util.find_spec("matplotlib") is not None)


def test_smoke_measures_both_sides_in_all_modes_and_parts(smoke):
    _, rows, _ = smoke
    found = [(row["part"], row["mode"], row["side"], row["engine"]) for row in rows]
    ours = [("table", mode, "torchw2v", engine) for engine in ("torch", "numba") for mode in MODES]
    ours += [(part, "sg-ns", "torchw2v", "torch") for part in ("zipf", "end-to-end")]
    table = [("table", mode, "gensim", "gensim") for mode in MODES]
    assert found == [*ours, *table, ("end-to-end", "sg-ns", "gensim", "gensim")]


def test_smoke_measures_positive_speeds_and_quality_that_is_a_number(smoke):
    _, rows, _ = smoke
    for row in rows:
        assert float(row["raw_words_per_s"]) > float(row["effective_words_per_s"]) > 0
        assert int(row["words"]) > 0 and float(row["seconds"]) > 0
        if row["part"] == "table":
            assert all(-1 <= float(row[name]) <= 1 for name in QUALITIES)
        if row["side"] == "torchw2v" and row["part"] != "end-to-end":
            moved = float(row["bytes_per_token"]) * float(row["effective_words_per_s"])
            assert float(row["bandwidth_bytes_per_s"]) == pytest.approx(moved)
            assert float(row["roofline_fraction"]) == pytest.approx(moved / float(row["copy_bytes_per_s"]))
    zipf = next(row for row in rows if row["part"] == "zipf")
    assert (int(zipf["words"]), zipf["note"]) == (ZIPF_WORDS, "")


def test_end_to_end_adds_up(smoke):
    _, rows, _ = smoke
    for row in rows:
        if row["part"] == "end-to-end":
            parts = sum(float(row[name]) for name in ("read_seconds", "seconds", "save_seconds"))
            assert parts == pytest.approx(float(row["wall_seconds"]), abs=0.05)


def test_rows_are_appended_only_to_a_file_of_the_same_columns(smoke, tmp_path, capsys):
    other = tmp_path / "other.csv"
    other.write_text("mode,side\n")
    with pytest.raises(SystemExit, match="2"):
        gpu.main(["--smoke", "--csv", str(other)])
    assert "other columns" in capsys.readouterr().err
    assert gpu.arguments(["--smoke", "--csv", str(smoke[2] / "rows.csv")]).csv.exists()


def test_what_does_not_fit_into_the_budget_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "PROFILE_SHARE", 0.0)
    monkeypatch.setattr(gpu, "TABLE_SHARE", 0.0)
    monkeypatch.setattr(gpu, "COMPARE_SHARE", 0.0)
    monkeypatch.setattr(gpu, "ZIPF_SHARE", 0.0)
    monkeypatch.setattr(gpu_runs, "GENSIM_WORDS_PER_WORKER", 1)
    assert gpu.main(["--smoke", "--csv", str(tmp_path / "rows.csv")]) == 0
    said = capsys.readouterr().out
    for mode in MODES:
        assert f"SKIPPED lee_background.cor {mode} D=16 torchw2v: no time left" in said
        assert f"SKIPPED lee_background.cor {mode} D=16 gensim: no time left" in said
        assert f"SKIPPED lee_background.cor {mode} D=16 torchw2v (numba): no time left" in said
    assert "SKIPPED zipf 200,000 words: no time left" in said
    assert "SKIPPED end to end lee_background.cor gensim: no time left" in said
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 2  # the header and our end to end


def test_without_cuda_the_exit_code_is_2_and_the_message_names_smoke(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="2"):
        gpu.main([])
    assert "--smoke" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--device", "cpu", "--engine", "torch"], "give --corpus"),
        (["--corpus", "no/such/corpus.txt"], "no such file: no/such/corpus.txt"),
        (["--csv", "no/such/rows.csv"], "no such folder: no/such"),
        (["--modes", "sg-ns,sg"], "unknown mode 'sg'"),
        (["--dims", "100,x"], "'x' is not a whole number"),
        (["--parts", "tests,speed"], "unknown part 'speed'"),
        (["--runs", "0"], "'0' is not a whole number above 0"),
        (["--smoke", "--engine", "abacus"], "engine='abacus' is unknown"),
        (["--smoke", "--device", "abacus"], "device='abacus' is unknown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_named(wrong, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        gpu.main(wrong)
    assert message in capsys.readouterr().err


def test_gpu_tests_are_counted_and_a_failure_fails(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: needs a device\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_else.py").write_text("import a_package_that_only_other_tests_need\n")
    tests = tmp_path / "tests" / "test_some.py"
    tests.write_text("import pytest\n@pytest.mark.gpu\ndef test_a(): pass\ndef test_b(): assert 0\n")
    assert gpu.run_gpu_tests(tmp_path, 60) == (True, "1 passed, 0 failed, 0 errors, 0 skipped")
    tests.write_text(tests.read_text().replace("def test_b", "@pytest.mark.gpu\ndef test_b"))
    passed, line = gpu.run_gpu_tests(tmp_path, 60)
    assert not passed and line.startswith("1 passed, 1 failed") and "test_b" in line


def test_no_gpu_tests_at_all_is_a_failure(tmp_path):
    passed, line = gpu.run_gpu_tests(tmp_path, 60)
    assert not passed and line.startswith("no test in")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_some.py").write_text("# without pytest.mark.gpu\ndef test_a(): pass\n")
    passed, line = gpu.run_gpu_tests(tmp_path, 60)
    assert not passed and line.startswith("0 passed")


def test_gpu_tests_that_hang_are_stopped(tmp_path):
    (tmp_path / "tests").mkdir()
    tests = tmp_path / "tests" / "test_some.py"
    tests.write_text("# pytest.mark.gpu\nimport time\nprint('so far', flush=True)\ntime.sleep(60)\n")
    passed, line = gpu.run_gpu_tests(tmp_path, 3)
    assert not passed and line.startswith("stopped after 3 s, the tests' share of the budget")


def test_a_part_that_fails_does_not_take_the_others_with_it(tmp_path, monkeypatch, capsys):
    original = gpu.measure_ours

    def fails(job, corpus, counts, mode, *args):
        if mode == "cbow-ns":
            raise RuntimeError("an illegal memory access was encountered")
        original(job, corpus, counts, mode, *args)

    monkeypatch.setattr(gpu, "measure_ours", fails)
    rows = tmp_path / "rows.csv"
    assert gpu.main(["--smoke", "--parts", "table,gensim", "--modes", "cbow-ns,sg-ns", "--csv", str(rows)]) == 1
    said = capsys.readouterr().out
    assert "FAILED lee_background.cor cbow-ns D=16 torchw2v: RuntimeError: an illegal memory access" in said
    assert "in fails" in said  # where
    with rows.open(newline="") as lines:
        found = [(row["mode"], row["side"]) for row in csv.DictReader(lines)]
    assert found == [("sg-ns", "torchw2v"), ("cbow-ns", "gensim"), ("sg-ns", "gensim")]


def test_a_device_that_no_longer_answers_is_not_asked_again(smoke, monkeypatch):
    job = gpu.Acceptance(gpu.arguments(["--smoke"]), {})
    job.args.device = "cuda"
    monkeypatch.setattr(gpu_runs, "answers", lambda device: False)
    done = []
    job.attempt("first", lambda: 1 / 0)
    job.attempt("second", done.append, "second")
    job.attempt("third", done.append, "third", on_device=False)
    assert done == ["third"] and job.failed
    assert job.failures == ["first: ZeroDivisionError: division by zero"]
    assert job.skipped == ["second: the device does not answer since first"]


def test_rows_are_on_disk_when_they_are_measured(tmp_path, monkeypatch):
    rows = tmp_path / "rows.csv"

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "measure_gensim", killed)
    monkeypatch.setattr(gpu, "write_report", lambda job: None)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--smoke", "--parts", "table,gensim", "--modes", "sg-ns", "--csv", str(rows)])
    assert len(rows.read_text().splitlines()) == 2


def test_sweep_tries_every_variation_and_leaves_the_settings_as_they_were(tmp_path, monkeypatch, capsys):
    before = {name: value for name, value in vars(schedule).items() if name.isupper()}
    tried = (Variation(), Variation(in_flight=64), Variation(warps=4, chunk=4096))
    monkeypatch.setattr(gpu_sweep, "VARIATIONS", tried)
    rows = tmp_path / "rows.csv"
    assert gpu.main(["--smoke", "--sweep", "--modes", "sg-ns", "--epochs", "1", "--csv", str(rows)]) == 0
    with rows.open(newline="") as lines:
        found = [(row["part"], row["corpus"], row["note"]) for row in csv.DictReader(lines)]
    notes = ["as it is", "in_flight=64", "chunk=4096 warps=4"]
    assert found == [("sweep", corpus, note) for corpus in ("lee_background.cor", "zipf-1000") for note in notes]
    assert {name: value for name, value in vars(schedule).items() if name.isupper()} == before
    assert "in_flight=64" in capsys.readouterr().out.rpartition("variation\n")[2]


def test_a_variation_is_what_an_engine_is_made_with():
    triton_engine = pytest.importorskip("torchw2v.ops.triton_engine")
    usual = dict(triton_engine.TUNING)
    before = {name: value for name, value in vars(schedule).items() if name.isupper()}
    with gpu_sweep.applied(Variation(in_flight=32_768, warps=16, stages=1, block=128), "triton"):
        tuning = triton_engine.Tuning(warps=16, stages=1, tree_stages=1, block=128)
        assert set(triton_engine.TUNING.values()) == {tuning} and usual.keys() == triton_engine.TUNING.keys()
        assert (schedule.MAX_IN_FLIGHT, schedule.MAX_IN_FLIGHT_FUSED) == (32_768, 32_768)
        assert schedule.MAX_HOT_OCCURRENCES == 512
    with gpu_sweep.applied(Variation(in_flight=1024, overlap=8), "triton"):
        assert (schedule.MAX_IN_FLIGHT, schedule.MAX_IN_FLIGHT_FUSED) == (1024, 8192)
    assert usual == triton_engine.TUNING
    assert before == {name: value for name, value in vars(schedule).items() if name.isupper()}


def test_variations_that_are_swept_differ():
    assert len(set(map(str, gpu_sweep.VARIATIONS))) == len(gpu_sweep.VARIATIONS) - 1  # the first comes again, last


def test_profile_names_what_ran(capsys):
    assert gpu.main(["--smoke", "--parts", "profile", "--modes", "sg-ns", "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    # On a CPU the operations of this thread; others train.
    assert "profile of sg-ns D=16" in said and "in the loop" in said and "aten::" in said


def test_compressed_text_is_unpacked_before_the_clock_starts(tmp_path):
    packed = tmp_path / "words.txt.gz"
    packed.write_bytes(gzip.compress(b"one two\n"))
    assert gpu.unpacked(packed, tmp_path).read_text() == "one two\n"
    assert gpu.unpacked(tmp_path / "words.txt", tmp_path) == tmp_path / "words.txt"


@pytest.mark.parametrize("dimensions", [3, 20])
def test_analogies_are_scored_as_gensim_does(dimensions, tmp_path):
    with open(datapath("questions-words.txt")) as lines:
        asked = list(lines)[:400]
    (tmp_path / "asked.txt").write_text("".join(asked))
    words = sorted({word.lower() for line in asked[1:] for word in line.split()})
    known = [*words[:-2], words[3].title(), "filler"]  # unknown words, and a word in two spellings
    vectors = np.random.default_rng(1).standard_normal((len(known), dimensions)).astype(np.float32)
    wv = KeyedVectors(dimensions)
    wv.add_vectors(known, vectors)
    wanted = wv.evaluate_word_analogies(str(tmp_path / "asked.txt"))[0]
    assert wanted > 0
    assert analogies(wv, path=tmp_path / "asked.txt") == pytest.approx(wanted, abs=0)


def test_rows_per_token_are_those_of_the_formula():
    def rows(skip_gram, negative, hierarchical, nodes=0.0):
        plan = SimpleNamespace(tile=16, group=32, shared_negatives=24)
        return rows_per_token(Objective(skip_gram, negative, hierarchical, window=5), plan, nodes)

    assert rows(True, 5, False) == (16 + 10 + 16) / 16 + (32 + 24) / 32
    assert rows(False, 5, False) == (16 + 10 + 16) / 16 + 24 / 32
    assert rows(True, 0, True, nodes=12.5) == rows(False, 0, True, nodes=12.5) == 26 / 16 + 12.5
    assert bytes_per_token(3.5, 100) == 2800


def test_data_sheet_knows_the_devices_by_name():
    names = {"NVIDIA H100 80GB HBM3": 3.35e12, "NVIDIA H100 PCIe": 2.0e12, "NVIDIA H200": 4.8e12}
    names |= {"NVIDIA A100-SXM4-80GB": 2.0e12, "NVIDIA GH200 480GB": None, "none": None}
    assert {name: datasheet_bandwidth(name) for name in names} == names


def test_zipf_words_follow_zipfs_law():
    corpus, counts = zipf_corpus(200_000, 50)
    seen = np.bincount(corpus.token_ids, minlength=50)
    law = 200_000 / np.arange(1, 51) / (1 / np.arange(1, 51)).sum()
    assert np.abs(seen - law).max() < 5 * np.sqrt(law.max())  # 5 standard deviations of the most frequent word
    assert np.abs(counts - law).max() < 200_000 / len(quantiles(50)) + 1  # a cell of the table
    assert (np.diff(counts) <= 0).all()  # gensim numbers words by frequency: its numbers are ours


def test_every_zipf_word_has_a_cell_and_a_count():
    table = quantiles(100_000)
    assert len(np.unique(table)) == 100_000
    assert expected_counts(table, 1000).min() == 1


def test_zipf_sentences_cover_the_corpus():
    corpus, _ = zipf_corpus(99_991, 10)
    lengths = np.diff(corpus.sentence_offsets)
    assert corpus.sentence_offsets[-1] == len(corpus.token_ids) == 99_991
    assert lengths[:-1].min() >= SHORTEST and lengths.max() <= LONGEST and lengths[-1] > 0


def test_zipf_corpus_does_not_depend_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr("compat.zipf.CHUNK", 1000)
    corpora = []
    for cores in (1, 3):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        corpora.append(zipf_corpus(9500, 100)[0])
    assert np.array_equal(corpora[0].token_ids, corpora[1].token_ids)


def test_prefix_ends_on_a_sentence_end():
    corpus, _ = zipf_corpus(1000, 10)
    start = prefix(corpus, 100)
    assert start.raw_offsets[-1] == len(start.token_ids) <= 100 < start.raw_offsets[-1] + LONGEST
    assert len(prefix(corpus, 1).raw_offsets) == 2


@pytest.fixture
def id_model():
    corpus, counts = zipf_corpus(20_000, 50)
    model = IdWord2Vec(vector_size=8, min_count=1, sg=1, epochs=1, workers=1, device="cpu", engine="torch")
    names = {str(rank): count for rank, count in enumerate(counts.tolist())}
    model.build_vocab_from_freq(names, corpus_count=len(corpus.raw_offsets) - 1)
    return model, corpus


def test_ids_are_trained_as_the_words_that_they_stand_for(id_model):
    model, corpus = id_model
    words = IdWord2Vec(vector_size=8, min_count=1, sg=1, epochs=1, workers=1, device="cpu", engine="torch")
    words.reset_from(model)
    ids = IdSentences.of(corpus)
    sentences = [[model.wv.index_to_key[index] for index in sentence] for sentence in ids]
    for trained, what in ((model, ids), (words, sentences)):
        trained.train(what, total_examples=len(ids), epochs=1)
    assert np.array_equal(model.wv.vectors, words.wv.vectors)


def test_ids_past_their_time_are_not_trained(id_model):
    model, corpus = id_model
    ids = IdSentences.of(corpus, ends=0.0)
    assert model.train(ids, total_examples=len(ids), epochs=1) == (0, 0)
