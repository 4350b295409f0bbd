# %% [markdown]
# # Whose docstring is it?
#
# Few labels and much text: vectors are trained on all of the text, and a classifier begins from them. The text is on
# every machine that has torchw2v: the docstrings of its dependencies. The label is the library: numpy, scipy, torch,
# sympy or networkx. Words that name one of them are taken out, and so are examples (`>>>`).

# %%
import argparse
import ast
import importlib.util
import random
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch.utils.data import DataLoader

from torchw2v import TokenDataset, TorchWord2Vec

parser = argparse.ArgumentParser()
parser.add_argument("--small", action="store_true", help="few files and labels, for a try")
args = parser.parse_args()
torch.set_num_threads(1)  # the layers are small: threads would wait for each other
LIBRARIES = ["numpy", "scipy", "torch", "sympy", "networkx"]
GIVEN_AWAY = re.compile(r"numpy|scipy|torch|sympy|networkx|^np$|^nx$")


def words_of(docstring):
    """The first lower-case words, without those that give the library away."""
    text = "\n".join(line for line in docstring.split("\n") if not line.strip().startswith((">>>", "...")))
    return [word for word in re.findall(r"[a-z]{2,}", text.lower()) if not GIVEN_AWAY.search(word)][:150]


def docstrings(path):
    """Those of a source file that have at least ten words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            words = words_of(ast.get_docstring(node) or "")
            if len(words) >= 10:
                yield words


# %% [markdown]
# A file is for training or for testing as a whole, because docstrings of neighbors repeat each other.

# %%
draw = random.Random(1)
train, test = [], []
for label, library in enumerate(LIBRARIES):
    folder = Path(importlib.util.find_spec(library).origin).parent
    files = sorted(path for path in folder.rglob("*.py") if "test" not in str(path.relative_to(folder)))
    for path in draw.sample(files, min(len(files), 40 if args.small else 200)):
        (test if draw.random() < 0.3 else train).extend((words, label) for words in docstrings(path))
draw.shuffle(train)
for name, examples in (("training", train), ("testing", test)):
    counts = np.bincount([label for _, label in examples], minlength=len(LIBRARIES))
    print(f"{name}: {len(examples):,} docstrings: " + ", ".join(map("{} {}".format, LIBRARIES, counts)))

# %% [markdown]
# ## Vectors from the text, without labels

# %%
texts = [words for words, _ in train]
model = TorchWord2Vec(
    texts, vector_size=64, window=5, min_count=3, sg=1, epochs=2 if args.small else 20, workers=2, seed=1
)
print(f"{model.corpus_total_words:,} words, {len(model.wv):,} of them different and frequent enough")
for word in ("graph", "matrix", "gradient"):
    print(f"{word:>8}: " + ", ".join(other for other, _ in model.wv.most_similar(word, topn=6)))

# %% [markdown]
# ## Vectors in a layer, and a classifier on it
#
# `to_embedding` gives a `torch.nn.Embedding` and the vocabulary that goes with it; the classifier takes the mean of a
# text's vectors. Three beginnings: vectors at random, ours held fixed, ours trained on.


# %%
class Classifier(torch.nn.Module):
    """A linear layer over the mean of a text's vectors."""

    def __init__(self, embedding, classes):
        super().__init__()
        self.embedding = embedding
        self.linear = torch.nn.Linear(embedding.embedding_dim, classes)

    def forward(self, batch):
        vectors = self.embedding(batch.ids) * batch.mask.unsqueeze(2)
        return self.linear(vectors.sum(1) / batch.lengths.unsqueeze(1))


def trained(beginning, labelled):
    """A classifier that has seen these labels, and its vocabulary."""
    embedding, vocabulary = model.to_embedding(padding_idx=0, unk="<unk>", freeze=beginning == "fixed")
    if beginning == "random":
        torch.nn.init.normal_(embedding.weight.data[1:], std=model.wv.vectors.std().item())
    classifier = Classifier(embedding, len(LIBRARIES))
    optimizer = torch.optim.Adam([weight for weight in classifier.parameters() if weight.requires_grad], lr=0.01)
    words, labels = zip(*labelled, strict=True)
    data = TokenDataset(words, vocabulary, labels)
    loader = DataLoader(data, batch_size=32, shuffle=True, collate_fn=vocabulary.collate)
    for _ in range(1 + (30 if args.small else 300) // len(loader)):  # some 300 steps, however few the labels are
        for batch, targets in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(classifier(batch), targets).backward()
            optimizer.step()
    return classifier, vocabulary


def accuracy(classifier, vocabulary):
    """Share of the test's docstrings that it assigns rightly."""
    with torch.no_grad():
        found = classifier(vocabulary.batch([words for words, _ in test])).argmax(1)
    return (found == torch.tensor([label for _, label in test])).double().mean().item()


# %% [markdown]
# Means of three draws of labels, as many of each library:

# %%
numbers, seeds = ((5,), 1) if args.small else ((5, 20, 100), 3)
print("labels of each library  " + "".join(f"{beginning:>9}" for beginning in ("random", "fixed", "tuned")))
results = {}
for number in numbers:
    for beginning in ("random", "fixed", "tuned"):
        scores = []
        for seed in range(seeds):
            torch.manual_seed(seed)
            shuffled = random.Random(seed).sample(train, len(train))
            labelled = [
                example
                for label in range(len(LIBRARIES))
                for example in [example for example in shuffled if example[1] == label][:number]
            ]
            scores.append(accuracy(*trained(beginning, labelled)))
        results[number, beginning] = np.mean(scores)
    print(f"{number:22}  " + "".join(f"{results[number, name]:9.1%}" for name in ("random", "fixed", "tuned")))
common = np.bincount([label for _, label in test]).max() / len(test)
print(f"always the most frequent library: {common:.1%}")

# %%
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for beginning in ("tuned", "fixed", "random"):
    axis.plot(numbers, [results[number, beginning] for number in numbers], marker="o", label=beginning)
axis.set_xscale("log")
axis.set_xticks(numbers, [str(number) for number in numbers])
axis.set_xlabel("labels of each library")
axis.set_ylabel("accuracy")
axis.legend(title="vectors")
axis.grid(alpha=0.3)
figure.savefig("accuracy.png", dpi=90)

# %% [markdown]
# What was learned without labels helps most where labels are few. So few do not suffice to train the vectors on: these
# then fit the few examples, and `freeze=True`, the default of `to_embedding`, is the better choice.
