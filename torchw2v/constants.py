"""Sizes that more than one room needs, each with its source."""

TILE = 16  # centers in a tile
GROUP = 32  # hidden rows that share negatives in skip-gram, spread over a step (docs/kernels.md, "Negatives")
DENSE_NODES = 32  # Huffman nodes nearest the root, which nearly every path crosses: one dense product a step
MAX_GROUPS = 4096  # in a step; keeps the draws of a wide window's blocks apart
MAX_BLOCK_ROWS = 64  # context rows of one skip-gram product; wider windows are trained block after block
# The window that window=None stands for: longer than any sentence, and a number to which gensim's routines, which may
# train a saved model on, can add a position without overflow (32 bits).
WHOLE_SENTENCE = 2**30
# Where gensim's own lines of a run come from, and so ours that stand for them: programs may have set up this one only.
GENSIMS_LOGGER = "gensim.models.word2vec"

# The pull that one row may receive from one stale snapshot, as alpha * (pairs summed into it); gensim's own updates
# are sequential. Chosen for stability: five words with 20 negatives at alpha 0.5 explode at 1.2, are stable at 0.6
# (test_training_stays_stable). Quality did not tell 0.3, 0.6 and 1.2 apart: skip-gram, 6 M words of Wikipedia,
# 5 epochs, one to three seeds each, analogies 0.151 to 0.159 at all three.
MAX_STALE_PULL = 0.6
# Huffman nodes stand a larger sum, their inputs being many different rows. Skip-gram, 3 M words of Wikipedia, 3 epochs,
# 512 tokens in flight, seed 1: analogies 0.080 at 2, 0.087 at 4 (seed 2: 0.076); 6 M words, 5 epochs: 0.164 at both.
NODE_PULL = 4.0

# Parts of a pair in which row caps count where a bag's contexts share its error (`Objective.counts_shares`): whole
# numbers, whose sum does not depend on its order.
PAIR_PARTS = 2**16

# What AdaGrad's sums of squares begin with: a row's first rate is 10 alpha, and halves once its gradients' mean squares
# have come to three times this.
ADAGRAD_START = 0.01

UINT32_SPAN = 2**32  # a draw is a uniform integer in [0, UINT32_SPAN)

MAX_SCORE = 6  # gensim leaves an output alone whose |score| is not below: MAX_EXP in word2vec_inner.pyx
# Contexts that the sequential engine trains together, and that share negatives.
MAX_SEQUENTIAL_BLOCK = 10
# Vector sizes for which numba's loops are compiled anew, some ten seconds each once a machine; others share code.
COMPILED_SIZES = (64, 96, 100, 128, 150, 192, 200, 256, 300, 384, 400, 500, 512)
# Huffman nodes next to the root that each of several threads copies in CBOW, and centers that use a copy before
# it meets the other threads' copies: docs/kernels.md, "Copies of the busiest nodes".
TOP_NODES = 64
MOST_USES = 64
