"""Sizes that more than one room needs, each with its source."""

# Tokens whose updates are computed together before any of them lands (docs/design.md, "Staleness").
TILE = 16  # centers in a tile: the smallest size at which gathered rows are reused ~8 times (measured, docs/benchmarks.md)
MAX_BLOCK_ROWS = 64  # context rows of one skip-gram product; wider windows are trained block after block

# The pull that one row may receive from one stale snapshot, as alpha * (pairs summed into it). gensim's own
# updates are sequential; 1.2 = 8 occurrences of 6 pairs at alpha 0.025 is the largest sum at which quality
# was measured to be untouched (../docs/design.md, "Staleness").
MAX_STALE_PULL = 1.2

UINT32_SPAN = 2**32  # a draw is a uniform integer in [0, UINT32_SPAN)
