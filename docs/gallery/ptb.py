# %% [markdown]
# # A chip in the Penn Treebank
#
# The book *Dive into Deep Learning* pretrains skip-gram with negative sampling on the Penn Treebank and asks for the
# neighbors of "chip" (chapter "Pretraining word2vec", [d2l.ai](https://d2l.ai)). The same recipe here: 100 dimensions,
# windows of up to 5, 5 noise words, words seen fewer than 10 times left out, frequent ones subsampled at 1e-4.
#
# The text is `ptb.train.txt` from the book's `ptb.zip`, which is also in Tomas Mikolov's `simple-examples.tgz`; it may
# not be passed on with this package. `--small` trains on a text that gensim carries.

# %%
import argparse
import time

from gensim.test.utils import datapath

from torchw2v import TorchWord2Vec, plot

parser = argparse.ArgumentParser()
parser.add_argument("--corpus", help="ptb.train.txt")
parser.add_argument("--small", action="store_true", help="a text of gensim's, for a try")
parser.add_argument("--epochs", type=int, default=20)
parser.add_argument("--workers", type=int, default=2)
args = parser.parse_args()
if not args.corpus and not args.small:
    parser.error("give --corpus ptb.train.txt, or --small")

# %%
path = datapath("lee_background.cor") if args.small else args.corpus
with open(path, encoding="utf-8") as lines:
    sentences = [[word for word in line.lower().split() if word != "<unk>"] for line in lines]
print(f"{len(sentences):,} sentences, {sum(map(len, sentences)):,} words")

# %% [markdown]
# ## Training
#
# The book trains 5 epochs with Adam; plain gradient descent with a falling learning rate takes more of them. A few
# sentences come first: they compile what this machine has not run before, so that the clock does not count it.

# %%
SETTINGS = {
    "vector_size": 100, "window": 5, "negative": 5, "min_count": 10, "sample": 1e-4, "sg": 1,
    "alpha": 0.05, "workers": args.workers, "seed": 1, "compute_loss": True,
}  # fmt: skip
TorchWord2Vec(sentences[:1000], epochs=1, **SETTINGS)
model = TorchWord2Vec(epochs=args.epochs, **SETTINGS)
model.build_vocab(sentences)
started = time.process_time()
model.train(sentences, total_examples=model.corpus_count, epochs=model.epochs)
cpu_seconds = time.process_time() - started
print(f"{len(model.wv):,} words in the vocabulary; engine {model.running_on.engine} on {model.running_on.device}")
for number in sorted({1, 2, 5, 10, args.epochs}):
    print(f"epoch {number:2}: loss {model.training_history[number - 1]['mean_loss']:.3f} a pair")

# %%
model.plot_training().savefig("course.png", dpi=90)

# %% [markdown]
# ## Tokens per second
#
# The book counts center words, after subsampling, in its last epoch, and prints 377,799 a second, on a GPU. The same
# count here, on the processor named at the end of the page, which other programs used, too; so the second line has the
# processor's own time, over all epochs:

# %%
last = model.training_history[-1]
print(f"{last['words_per_second']:,.0f} center words/s ({last['raw_words'] / last['seconds']:,.0f} words of the text)")
words = sum(epoch["effective_words"] for epoch in model.training_history)
print(f"{words / cpu_seconds:,.0f} center words in a second of one core's time")

# %% [markdown]
# ## Neighbors

# %%
for word in ["fire", "court"] if args.small else ["chip", "oil", "judge", "drug"]:
    print(f"{word:>6}: " + ", ".join(f"{other} {score:.2f}" for other, score in model.wv.most_similar(word, topn=5)))

# %% [markdown]
# Their places, when 100 dimensions are pressed into two:

# %%
if args.small:
    groups = {"fire": "fire fires fighters", "law": "court police arrested"}
else:
    groups = {
        "computers": "chip chips computer computers software microprocessor intel ibm workstations mainframe",
        "oil": "oil crude barrels gas exxon drilling gasoline opec refinery petroleum",
        "law": "judge court jury attorney trial defendants lawyers ruling appeals prosecutors",
        "medicine": "drug drugs disease patients doctors medical cancer hospital blood treatment",
    }
group_of = {word: group for group, words in groups.items() for word in words.split() if word in model.wv}
plot.word_map(model.wv, group_of, groups=group_of, figsize=(7.5, 5.5)).savefig("map.png", dpi=90)
