"""DynaTran and DynaProp for any torch.nn.Module (extra `[train]`).

In comes a module that trains, out come pruned products, their densities and compressed saved
tensors. What is pruned around a new kind of product is decided in `products`.

Forward, activations with |x| <= tau_i are set to zero behind the matched operations (DynaTran,
Tuli and Jha 2023, arXiv 2302.14705); backward, the propagated gradient with |g| <= tau_t is set
to zero before it enters the products of the operation (DynaProp, TransCODE, arXiv 2303.14882).
In place of a threshold, `TopK` keeps the largest of each row, for comparison.
Saved activations are kept as values and a bitmask. Only the commands that train import this.
"""

import importlib.util

from transcode.extras import installing

if importlib.util.find_spec("torch") is None:
    raise ImportError(f"transcode.dynaprop needs PyTorch: {installing('train')}")

from transcode.dynaprop.pruner import DynaProp
from transcode.dynaprop.records import Record
from transcode.dynaprop.site import Site
from transcode.dynaprop.thresholds import Missed, Schedule, TargetDensity, TargetMissed, TopK

__all__ = [
    "DynaProp",
    "Missed",
    "Record",
    "Schedule",
    "Site",
    "TargetDensity",
    "TargetMissed",
    "TopK",
]
