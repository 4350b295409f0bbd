"""torch.nn.Embedding both ways: every row is its word's, special tokens stand where they should, layers can learn."""

import pickle

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors
from small_models import TOPICS, ours, train

import torchw2v
from torchw2v import TokenVocabulary, TorchWord2Vec, to_embedding
from torchw2v.errors import SettingError, SettingTypeError

PLACES = {
    "plain": ({}, [], []),
    "unk": ({"unk": "<unk>"}, [], ["<unk>"]),
    "pad-first": ({"padding_idx": 0}, ["<pad>"], []),
    "pad-last": ({"padding_idx": -1}, [], ["<pad>"]),
    "both-first": ({"padding_idx": 0, "unk": "<unk>"}, ["<pad>", "<unk>"], []),
    "both-last": ({"padding_idx": -1, "unk": "<unk>"}, [], ["<unk>", "<pad>"]),
    "other-names": ({"padding_idx": 0, "unk": "?", "pad": "_"}, ["_", "?"], []),
}
each_place = pytest.mark.parametrize(("arguments", "first", "last"), PLACES.values(), ids=PLACES)


@pytest.fixture(scope="module")
def model():
    return ours(TOPICS, sg=1, vector_size=10)


# ---- model to layer ----------------------------------------------------------------------------------------------


@each_place
def test_every_row_is_its_words(model, arguments, first, last):
    embedding, vocabulary = model.to_embedding(**arguments)
    assert vocabulary.index_to_key == (*first, *model.wv.index_to_key, *last)
    assert embedding.num_embeddings == len(vocabulary) == len(vocabulary.key_to_index) == len(embedding.weight)
    for word in model.wv.index_to_key:
        assert np.array_equal(embedding.weight[vocabulary.key_to_index[word]].numpy(), model.wv[word])
    assert vocabulary.specials == (*first, *last)
    assert embedding.padding_idx == vocabulary.padding_index
    for row, token in enumerate(vocabulary.index_to_key):
        assert vocabulary.key_to_index[token] == row
        if token in ("<pad>", "_"):
            assert row == vocabulary.padding_index
            assert (embedding.weight[row] == 0).all()
        if token in ("<unk>", "?"):
            assert row == vocabulary.unknown_index
            assert np.allclose(embedding.weight[row].numpy(), model.wv.vectors.mean(0), atol=1e-7)


@each_place
def test_lookup_of_a_sentence_gives_its_words_vectors(model, arguments, first, last):
    embedding, vocabulary = model.to_embedding(**arguments)
    found = embedding(vocabulary.encode(TOPICS[0]))
    assert np.array_equal(found.numpy(), model.wv[TOPICS[0]])


def test_padding_row_may_be_named_by_its_number(model):
    size = len(model.wv)
    assert model.to_embedding(padding_idx=size).embedding.padding_idx == size
    assert model.to_embedding(padding_idx=size + 1, unk="<unk>").embedding.padding_idx == size + 1


@pytest.mark.parametrize("padding_idx", [1, 14, -2, 10**6])
def test_padding_row_in_the_middle_is_refused(model, padding_idx):
    assert len(model.wv) == 14
    with pytest.raises(SettingError, match=rf"padding_idx={padding_idx} is neither the first row"):
        model.to_embedding(padding_idx=padding_idx, unk="<unk>")


def test_unknown_token_that_is_a_word_keeps_its_row(model):
    embedding, vocabulary = model.to_embedding(padding_idx=0, unk="x3")
    assert vocabulary.specials == ("<pad>",)
    assert vocabulary.unknown_index == vocabulary.key_to_index["x3"] == model.wv.key_to_index["x3"] + 1
    assert np.array_equal(embedding.weight[vocabulary.unknown_index].numpy(), model.wv["x3"])


@pytest.mark.parametrize("arguments", [{"pad": "x3"}, {"pad": "<unk>", "unk": "<unk>"}])
def test_padding_row_of_a_words_name_is_refused(model, arguments):
    with pytest.raises(SettingError, match="is the name of another row"):
        model.to_embedding(padding_idx=0, **arguments)


def test_layer_is_a_copy(model):
    before = model.wv.vectors.copy()
    with torch.no_grad():
        model.to_embedding(freeze=False).embedding.weight.fill_(1)
    assert np.array_equal(model.wv.vectors, before)


def test_settings_reach_the_layer(model):
    embedding = model.to_embedding(sparse=True, freeze=False, dtype=torch.float16, max_norm=2.0).embedding
    assert (embedding.sparse, embedding.max_norm, embedding.weight.dtype) == (True, 2.0, torch.float16)
    assert embedding.weight.requires_grad
    assert not model.to_embedding().embedding.weight.requires_grad  # as torch's from_pretrained
    assert torch.equal(embedding.weight, torch.from_numpy(model.wv.vectors).half())


def test_any_keyed_vectors_become_a_layer(model):
    assert np.array_equal(to_embedding(model.output_vectors).embedding.weight.numpy(), model.syn1neg)
    numbers = KeyedVectors(3, dtype=np.float64)
    numbers.add_vectors([7, 9], np.arange(6.0).reshape(2, 3))
    embedding, vocabulary = to_embedding(numbers, padding_idx=0)
    assert embedding.weight.dtype == torch.float64
    assert vocabulary.index_to_key == ("<pad>", 7, 9)
    numbers.vectors.flags.writeable = False
    assert torch.equal(to_embedding(numbers, padding_idx=0).embedding.weight, embedding.weight)


def test_model_without_vectors_is_refused():
    with pytest.raises(SettingError, match="no vectors"):
        ours().to_embedding()


def test_vocabulary_can_be_pickled(model):
    vocabulary = model.to_embedding(padding_idx=0, unk="<unk>").vocabulary
    again = pickle.loads(pickle.dumps(vocabulary))
    assert again == vocabulary and again.key_to_index == vocabulary.key_to_index


# ---- layer to model ----------------------------------------------------------------------------------------------


@each_place
def test_there_and_back_again(model, arguments, first, last):
    back = TorchWord2Vec.from_embedding(*model.to_embedding(**arguments))
    assert back.wv.index_to_key == model.wv.index_to_key
    assert back.wv.key_to_index == model.wv.key_to_index
    assert np.array_equal(back.wv.vectors, model.wv.vectors)
    assert back.vector_size == 10
    for (word, score), (other, expected) in zip(back.wv.most_similar("x0"), model.wv.most_similar("x0"), strict=True):
        assert word == other and score == pytest.approx(expected, abs=1e-6)


def test_mapping_or_list_names_the_rows():
    embedding = torch.nn.Embedding(4, 3, padding_idx=2)
    expected = embedding.weight.detach().numpy()
    by_list = TorchWord2Vec.from_embedding(embedding, ["a", "b", "<pad>", "c"])
    assert by_list.wv.index_to_key == ["a", "b", "c"]
    assert np.array_equal(by_list.wv.vectors, expected[[0, 1, 3]])
    by_mapping = TorchWord2Vec.from_embedding(embedding, {"c": 3, "a": np.int64(0)})
    assert by_mapping.wv.index_to_key == ["a", "c"]
    assert np.array_equal(by_mapping.wv["c"], expected[3])
    expected[0] = 9  # the layer's own memory; the models have copies
    assert not (by_list.wv["a"] == 9).any()


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["a", "b"], "4 rows, and there are 2 keys"),
        (["a", "b", "c", "a"], "3 of them different"),
        ({"a": 0, "b": 0}, "different rows, 0 to 3"),
        ({"a": 4}, "different rows, 0 to 3"),
        ({"a": -1}, "different rows, 0 to 3"),
        ({}, "no rows of words"),
        (TokenVocabulary(("a", "b")), "4 rows, and there are 2 keys"),
    ],
)
def test_keys_that_do_not_fit_are_refused(keys, message):
    with pytest.raises(SettingError, match=message):
        TorchWord2Vec.from_embedding(torch.nn.Embedding(4, 3), keys)


def test_what_is_no_embedding_is_refused():
    with pytest.raises(SettingTypeError, match=r"takes a torch\.nn\.Embedding, got a Linear"):
        TorchWord2Vec.from_embedding(torch.nn.Linear(2, 2), ["a", "b"])


@pytest.mark.parametrize("name", ["vector_size", "sentences", "corpus_file"])
def test_setting_that_does_not_belong_here_is_refused(name):
    with pytest.raises(SettingError, match=f"takes no {name}"):
        TorchWord2Vec.from_embedding(torch.nn.Embedding(2, 2), ["a", "b"], **{name: 3})


@pytest.mark.parametrize("counts", [{"a": 3}, {"a": 3, "b": 0}])
def test_missing_count_is_refused(counts):
    with pytest.raises(SettingError, match=r"no positive count of 1 words \(first: \['b'\]\)"):
        TorchWord2Vec.from_embedding(torch.nn.Embedding(2, 2), ["a", "b"], counts=counts)


def test_counts_and_settings_reach_the_model():
    counts = {"a": 3, "b": 50}
    model = TorchWord2Vec.from_embedding(
        torch.nn.Embedding(2, 6), ["a", "b"], counts=counts, min_count=7, negative=2, sg=1, max_final_vocab=1
    )
    assert {word: model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key} == counts
    assert model.wv.index_to_key == ["a", "b"]  # the rows' order, not the counts'
    assert (model.min_count, model.negative, model.sg, model.max_final_vocab, model.sorted_vocab) == (7, 2, 1, 1, 1)
    assert model.cum_table[-1] == 2**31 - 1 and len(model.cum_table) == 2


@pytest.mark.parametrize("settings", [{"sg": 1}, {"hs": 1, "negative": 0}, {"null_word": 1}])
def test_model_of_a_layer_trains_on(model, settings, tmp_path):
    layer = model.to_embedding(padding_idx=0, unk="<unk>", dtype=torch.bfloat16)
    again = TorchWord2Vec.from_embedding(*layer, min_count=1, workers=1, seed=3, device="cpu", **settings)
    start = again.wv.vectors.copy()
    assert np.allclose(start[:14], model.wv.vectors, atol=0.01)
    more = [*TOPICS, ["x0", "quite", "new"] * 3]
    again.build_vocab(more, update=True)
    assert np.array_equal(again.wv.vectors[: len(start)], start)
    assert {"quite", "new"} <= set(again.wv.index_to_key)
    assert again.wv.get_vecattr("x0", "count") == 1 + sum(sentence.count("x0") for sentence in more)
    train(again, more)
    assert np.isfinite(again.wv.vectors).all() and not np.array_equal(again.wv.vectors[: len(start)], start)
    again.save(str(tmp_path / "model"))
    assert np.array_equal(TorchWord2Vec.load(str(tmp_path / "model")).wv.vectors, again.wv.vectors)


# ---- learning with the layer -------------------------------------------------------------------------------------


class Classifier(torch.nn.Module):
    """The mean of a text's vectors, and a line between two classes."""

    def __init__(self, embedding):
        super().__init__()
        self.embedding = embedding
        self.line = torch.nn.Linear(embedding.embedding_dim, 2)

    def forward(self, batch):
        vectors = self.embedding(batch.ids) * batch.mask.unsqueeze(2)
        return self.line(vectors.sum(1) / batch.lengths.clamp(min=1).unsqueeze(1))


def fitted(layer, texts, labels, optimizer=torch.optim.SGD, steps=60):
    torch.manual_seed(0)
    classifier, batch = Classifier(layer.embedding), layer.vocabulary.batch(texts)
    rule = optimizer([p for p in classifier.parameters() if p.requires_grad], lr=1.0)
    for _ in range(steps):
        rule.zero_grad()
        torch.nn.functional.cross_entropy(classifier(batch), labels).backward()
        rule.step()
    return classifier, float((classifier(batch).argmax(1) == labels).float().mean())


TEXTS = [sentence[:length] for sentence, length in zip(TOPICS, [1, 2, 5, 9] * 20, strict=True)]
LABELS = torch.tensor([int(sentence[0][0] == "y") for sentence in TOPICS])


@pytest.mark.parametrize("padding_idx", [0, -1])
@pytest.mark.parametrize("sparse", [False, True])
def test_layer_learns_in_a_model_and_goes_back(model, padding_idx, sparse):
    layer = model.to_embedding(padding_idx=padding_idx, unk="<unk>", freeze=False, sparse=sparse)
    start = layer.embedding.weight.detach().clone()
    classifier, accuracy = fitted(layer, TEXTS, LABELS)
    assert accuracy == 1.0
    learned = classifier.embedding.weight.detach()
    moved = (learned != start).any(1)
    vocabulary = layer.vocabulary
    assert not moved[vocabulary.padding_index] and not moved[vocabulary.unknown_index]  # no gradient; not in the texts
    assert all(moved[vocabulary.key_to_index[word]] for text in TEXTS for word in text)
    back = TorchWord2Vec.from_embedding(layer.embedding, vocabulary)
    for word in model.wv.index_to_key:
        assert np.array_equal(back.wv[word], learned[vocabulary.key_to_index[word]].numpy())


def test_frozen_layer_stays_while_the_rest_learns(model):
    layer = model.to_embedding(padding_idx=0)
    classifier, accuracy = fitted(layer, TEXTS, LABELS, torch.optim.Adam)
    assert accuracy > 0.9
    assert np.array_equal(classifier.embedding.weight[1:].numpy(), model.wv.vectors)


def test_names_are_public():
    names = {"to_embedding", "EmbeddingLayer", "TokenVocabulary", "TokenDataset", "TokenBatch"}
    assert names <= set(torchw2v.__all__)
