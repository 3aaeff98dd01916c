"""The machines: one module a kind, listed here and nowhere else."""

from __future__ import annotations

from elector.design import Machine
from elector.machines.acceltran import ACCELTRAN
from elector.machines.gpu import GPU
from elector.machines.reram import RERAM
from elector.machines.systolic import SYSTOLIC

MACHINES: dict[str, Machine] = {m.name: m for m in (SYSTOLIC, ACCELTRAN, GPU, RERAM)}
