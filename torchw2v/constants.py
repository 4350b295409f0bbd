"""Sizes that more than one room needs, each with its source."""

TILE = 16  # centers in a tile
WIDE_TILE = 32  # the same in skip-gram with negative sampling, beside 32 shared negatives
MAX_BLOCK_ROWS = 64  # context rows of one skip-gram product; wider windows are trained block after block

# The pull that one row may receive from one stale snapshot, as alpha * (pairs summed into it); gensim's own updates
# are sequential. Skip-gram, 6 M words of Wikipedia, 5 epochs: analogies 0.147 at 1.2 or 2.4, 0.156 at 0.6 or 0.3, with
# WordSim and SimLex unmoved within their spread; ten words at alpha 0.5 explode at 1.2 and are stable at 0.6.
MAX_STALE_PULL = 0.6
# Huffman nodes stand a larger sum, their inputs being many different rows. Skip-gram, 3 M words of Wikipedia, 3 epochs,
# 512 tokens in flight: analogies 0.080 at 2, 0.087 at 4, 0.085 at 8 (gensim 0.096).
NODE_PULL = 4.0

UINT32_SPAN = 2**32  # a draw is a uniform integer in [0, UINT32_SPAN)
