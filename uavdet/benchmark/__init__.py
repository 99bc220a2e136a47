"""Times models beside one another; nothing here imports PyTorch, which only the process of a checkpoint does."""

from uavdet.benchmark.measure import measure_models
from uavdet.benchmark.report import BenchmarkReport

__all__ = ["BenchmarkReport", "measure_models"]
