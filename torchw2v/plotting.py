"""Where `plot_history` was before `torchw2v.plot`; the name stays."""

from torchw2v.plot.course import plot_history

__all__ = ["plot_history"]
