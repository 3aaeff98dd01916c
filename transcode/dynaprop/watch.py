"""What a place does while its tensors are looked at: eager, also inside compiled code.

Counting needs Python, so each such place breaks the compiled graph once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transcode.dynaprop.place import MatchedModule, in_backward
from transcode.dynaprop.products import WatchedProducts
from transcode.dynaprop.prune import Prune
from transcode.dynaprop.site import Site
from transcode.dynaprop.thresholds import scaled


@torch.compiler.disable
def watched(
    products: WatchedProducts | None,
    place: MatchedModule,
    module: nn.Module,
    inputs: tuple[Any, ...],
    x: Tensor,
) -> Tensor:
    """x of a place pruned, with its densities noted and its target densities tracked.

    module : the place. inputs : what it is called with, x first.
    """
    place.ran = True
    taken = products.take() if products is not None else None
    if not torch.is_grad_enabled() or in_backward():
        # Evaluation is pruned with the thresholds of training but teaches nothing.
        target = place.forward_target
        tau = place.tau_i if target is None else target.tau or 0.0
        return Prune.apply(x, tau, scaled(place.tau_t, place.scale), place)
    if isinstance(module, Site):
        if taken is not None:
            place.consumes(*taken)
    elif inputs and isinstance(inputs[0], Tensor):
        place.consumes(inputs[0], None)
    y = Prune.apply(x, place.enters(x.detach()), 0.0, place)
    place.leaves(y.detach())
    return y
