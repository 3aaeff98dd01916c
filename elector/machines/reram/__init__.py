"""ReRAM crossbars: weights stay in cells, products happen where they lie.

    settings -> crossbars (geometry) -> where products run and what stands where (placement)
             -> seconds (work) and actions (counts); area and standing power (parts)

All crossbars of a matrix work at once, and layers lie in different ones, so that sequences
follow one another through them (Shafiee et al. 2016, ISAAC; Ankit et al. 2019, PUMA,
arXiv 1901.10351). How many copies of the weights there are, and how many crossbars are kept
for operands that are written first, is a plan; the fastest of several is taken.
"""

from elector.machines.reram.machine import RERAM

__all__ = ["RERAM"]
