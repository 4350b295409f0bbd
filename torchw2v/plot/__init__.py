"""Figures of models, vectors and benchmarks: functions that give a matplotlib Figure. pip install 'torchw2v[plot]'."""

from torchw2v.plot.benchmark import benchmark_bars
from torchw2v.plot.course import plot_history, training_curve
from torchw2v.plot.frequency import frequency_and_norm
from torchw2v.plot.maps import word_map

__all__ = ["benchmark_bars", "frequency_and_norm", "plot_history", "training_curve", "word_map"]
