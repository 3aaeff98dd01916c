"""Where a window of attention changes anything: `model.window`, design by design.

A window hides keys from queries. Products of their own compute the whole square all the same; a
fused kernel skips what is hidden, and a cache keeps no more keys than a window holds
(elector.operations.attention). A window that is as long as what a query sees hides nothing.
"""

from __future__ import annotations

import functools

import numpy as np

from elector.describe.formats import load_model
from elector.describe.model import Block, Models
from elector.describe.workload import SKIPPING, Workload
from elector.evaluation.resolve import StructureGroup
from elector.operations.attention import reach_of

Array = np.ndarray


def hides(window: Array | float, keys: Array | float, causal: bool) -> Array:
    """Whether a window hides any of so many keys: it lies on both sides of a query that sees what
    comes behind it, too.

    window, keys : (D,) tokens, or one number each; the result is as long.
    """
    reach = window if causal else np.floor(window / 2.0) + 1.0
    return np.asarray(reach < keys)


@functools.cache
def of_file(model: str) -> float:
    """The shortest window of a model's own layers; infinite without one."""
    windows = [float(block.window) for block in load_model(model).blocks if block.window]
    return min(windows, default=np.inf)


def matter(group: StructureGroup) -> Array:
    """(D,) bool: whether a window changes what is computed or kept in any layer of a design, the
    one that it was given or the model's own in place of it."""
    models, workload, pair = group.models, group.workload, group.pair
    own = np.full(group.rows.size, np.inf)
    if group.table is not None:
        own = group.table.columns["model"].map(lambda name: of_file(str(name)), float)[group.rows]
    matters = np.zeros(group.rows.size, dtype=bool)
    for i, block in enumerate(models.template.blocks):
        given = models.at("window", i)
        there = (given > 0) & (models.block["repeat"][i] > 0)
        most = np.minimum(given[pair], own)
        others = reach_of(models, i, ("chunk", "index_top_k"))
        keys = np.minimum(_seen(models, workload, block), others)[pair]
        if workload.attention in SKIPPING:
            matters |= there[pair] & hides(most, keys, block.causal)
        kept = np.minimum(_cached(workload, block), others)[pair]
        matters |= there[pair] & (block.causal | block.cross_attention) & (most < kept)
    return matters


def _seen(models: Models, workload: Workload, block: Block) -> Array:
    """(M,) keys that a query of a block sees without a window, in a pass over whole sequences."""
    model = models.template
    if model.family == "vision":
        return models.numbers["patches"] + float(model.special_tokens)
    if block.cross_attention:
        return np.ones(models.size) if workload.generates else workload.target_length
    if model.source_tokens:
        return np.full(models.size, float(model.source_tokens))
    return workload.sequence_length


def _cached(workload: Workload, block: Block) -> Array:
    """(M,) keys that a block keeps of a sequence without a window; 0 where nothing is kept."""
    length, generate = workload.sequence_length, workload.generate
    prompt = np.ones_like(length) if block.cross_attention else length
    return np.where(workload.keeps, prompt + np.maximum(generate - 1.0, 0.0), 0.0)
