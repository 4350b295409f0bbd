# %% [markdown]
# # The same program, twice
#
# A program that was written for gensim, run as it is and with torchw2v in gensim's place: `python -m torchw2v run`
# replaces the class and touches no line of it. The text is one that gensim carries, 250 stemmed Wikipedia articles.

# %%
import argparse
import os
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

from torchw2v import plot

parser = argparse.ArgumentParser()
parser.add_argument("--small", action="store_true", help="one epoch and one round, for a try")
args = parser.parse_args()

PROGRAM = """
import sys
import time

from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath

sentences = list(LineSentence(datapath("head500.noblanks.cor.bz2")))
model = Word2Vec(vector_size=100, window=5, min_count=5, sg=1, workers=2)
model.build_vocab(sentences)
started = time.perf_counter()
model.train(sentences, total_examples=model.corpus_count, epochs=int(sys.argv[1]))
seconds = time.perf_counter() - started
print(f"{type(model).__module__}: train() took {seconds:.2f} s, {model.corpus_total_words * int(sys.argv[1]):,} words")
for word in ("atom", "film", "greek"):
    print(f"{word:>6}: " + ", ".join(other for other, _ in model.wv.most_similar(word, topn=6)))
"""
Path("program.py").write_text(PROGRAM)

# %% [markdown]
# The two take turns, because other programs use the machine, too. A run that is not shown comes first: the first use of
# a mode on a machine compiles it.

# %%
COMMANDS = {
    "gensim": [sys.executable, "program.py"],
    "torchw2v": [sys.executable, "-m", "torchw2v", "run", "program.py"],
}


def run(side, epochs):
    """What the program prints, and the seconds that train() took."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    done = subprocess.run([*COMMANDS[side], str(epochs)], capture_output=True, text=True, check=True, env=environment)
    return done.stdout, float(re.search(r"took ([\d.]+) s", done.stdout)[1])


epochs, rounds = (1, 1) if args.small else (10, 3)
run("torchw2v", 1)
rows, printed = [], {}
for _ in range(rounds):
    for side in COMMANDS:
        printed[side], seconds = run(side, epochs)
        rows.append({"side": side, "mode": "sg-ns", "seconds": seconds})
for side, command in COMMANDS.items():
    print("$ python " + " ".join([*command[1:], str(epochs)]))
    print(printed[side])

# %%
for side in COMMANDS:
    times = [row["seconds"] for row in rows if row["side"] == side]
    print(f"{side:>9}: {median(times):6.2f} s (median of " + ", ".join(f"{seconds:.2f}" for seconds in times) + ")")
plot.benchmark_bars(rows, ["seconds"], figsize=(4.5, 3.2)).savefig("seconds.png", dpi=90)

# %% [markdown]
# What `train()` alone took. Starting the program takes longer with torchw2v, because torch is imported: where training
# takes a second or two gensim is the better choice ([when is gensim enough?](../faq.md#when-is-gensim-enough)).
# For an edit in place of the command, `from torchw2v import TorchWord2Vec as Word2Vec` ([migrate.md](../migrate.md)).
