"""GPUs: `machine` counts, `kernels` times one kernel, `stacks` says which kernels there are."""

from elector.machines.gpu.machine import GPU

__all__ = ["GPU"]
