"""Operations of a model under a workload: `build` lists them all.

In come models and a workload (elector.describe); out comes a table: what each row computes
(`Role`), where it stands, how large and how often it is, and which rows make its operands
(`Graph`). Emitters (forward, attention, flexibert, heads) say what runs and what its gradient
reads; backward rows, saved tensors and recomputation follow (tape, backward, saved). A new kind
of layer is a role and an emitter; `names` is the only place for what reports show.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from elector.base.errors import InputError
from elector.describe.model import Models
from elector.describe.workload import OPTIMIZER_STATES, Workload
from elector.operations.backward import backward
from elector.operations.collect import TABLES, Collector
from elector.operations.forward import blocks, embedding
from elector.operations.graph import Value
from elector.operations.heads import head
from elector.operations.listed import emit, listing_of, require_inference
from elector.operations.passes import norm
from elector.operations.roles import Role, Section
from elector.operations.rows import CLASSES, Operations, Row
from elector.operations.scope import Pass, Scope
from elector.operations.step import Step
from elector.operations.tensors import (
    Tensor,
    elements_of,
    parameter_tensors,
    place_of,
    trained,
)
from elector.operations.update import cast_weights, update

__all__ = ["CLASSES", "Operations", "Row", "build"]

Array = np.ndarray


def build(models: Models, workload: Workload) -> Operations:
    """All operations of one step of M (model, workload) pairs.

    Raises InputError for a request the model has no meaning for (generation without a
    causal decoder, training in which nothing trains).
    """
    _require_meaning(models, workload)
    step = Step(models, workload, Collector(models.size, workload.format))
    _forward(step)
    tensors = parameter_tensors(models, workload)
    if workload.format.casts_each_pass and not workload.training:
        cast_weights(step, tensors)
    if workload.training:
        if not any(trained(t, workload) for t in tensors):
            raise InputError(
                "nothing trains: the model has no head",
                field="workload.trainable",
                value=workload.trainable,
                hint="set model.head",
            )
        backward(step)
        update(step, tensors)
    step.saved.settle(step.out)
    return _finish(step, tensors)


def _require_meaning(models: Models, workload: Workload) -> None:
    model = models.template
    if workload.generates and model.family not in ("decoder", "encoder-decoder"):
        raise InputError(
            f"{model.name} does not generate: it is no causal decoder", field="workload.generate"
        )
    if workload.generates and workload.training:
        raise InputError("a training step generates nothing", field="workload.generate")
    listing = listing_of(model)
    if listing is not None:
        require_inference(listing, workload)
        if workload.rank:
            raise InputError("a list has no projections", field="workload.trainable")


def _forward(step: Step) -> None:
    models, workload = step.models, step.workload
    model, once = models.template, np.ones(models.size)
    times = workload.gradient_accumulation if workload.training else once
    listing = listing_of(model)
    if listing is not None:
        emit(step, listing, times)
        return
    vision = model.family == "vision"
    length = models.numbers["patches"] + 1.0 if vision else workload.sequence_length
    phase = "prefill" if workload.generates else "forward"
    run = Pass(phase, workload.batch, length, length, np.zeros_like(once), times, length)
    if model.family == "encoder-decoder":
        _encoder_decoder(step, run, times)
        return
    x = embedding(step, replace(run, times=models.bottom(times)), Section.EMBEDDING)
    every = range(len(model.blocks))
    x = blocks(step, run, every, x, None)
    x = head(step, replace(run, times=models.top(times)), x, last_only=workload.generates)
    if workload.generates:
        for decode in _tokens(step, length, length):
            x = _decode(step, decode, every, x)


def _encoder_decoder(step: Step, run: Pass, times: Array) -> None:
    model, workload = step.models.template, step.workload
    decoders = [i for i, b in enumerate(model.blocks) if b.cross_attention]
    encoders = [i for i, b in enumerate(model.blocks) if not b.cross_attention]
    x = embedding(step, run, Section.ENCODER_EMBEDDING)
    x = blocks(step, run, encoders, x, None)
    scope = Scope(run, place_of(model, encoders[-1]), run.times)
    memory = norm(step, scope, Role.ENCODER_NORM, x)
    once = np.ones_like(times)
    length = workload.target_length if not workload.generates else once
    target = Pass(run.phase, run.batch, length, length, 0.0 * once, times, run.queries)
    x = embedding(step, target, Section.DECODER_EMBEDDING)
    x = blocks(step, target, decoders, x, memory)
    x = head(step, target, x, last_only=workload.generates)
    if workload.generates:
        for decode in _tokens(step, once, run.queries):
            x = _decode(step, decode, decoders, x)


def _tokens(step: Step, prompt: Array, source: Array) -> list[Pass]:
    """Generation: the prompt gives the first token, each further one attends to all before it.

    With a window (Mistral, arXiv 2310.06825, section 2) the keys grow up to it and stay there.
    """
    batch, once = step.workload.batch, np.ones_like(prompt)
    tokens, window = np.maximum(step.workload.generate - 1.0, 0.0), step.models.template.window
    growing = tokens if not window else np.clip(window - prompt, 0.0, tokens)
    middle, span = prompt + (growing + 1.0) / 2.0, np.maximum(growing - 1.0, 0.0)
    found = [Pass("decode", batch, once, middle, span, growing, source)]
    if window and (tokens > growing).any():
        keys = np.full_like(prompt, float(window))
        found.append(Pass("decode", batch, once, keys, 0.0 * span, tokens - growing, source))
    return found


def _decode(step: Step, run: Pass, indices: Iterable[int], before: Value) -> Value:
    """One token after another, each from the one before."""
    x = embedding(step, run, Section.EMBEDDING, before)
    x = blocks(step, run, indices, x, None)
    return head(step, run, x, last_only=False)


def _finish(step: Step, tensors: list[Tensor]) -> Operations:
    out, workload, size = step.out, step.workload, step.models.size
    tables: dict[str, Any] = {name: out.table(name) for name in TABLES}
    macs, executed = _macs(out, tables, size)
    models = step.models
    passes = workload.gradient_accumulation if workload.training else 1.0
    layers = np.maximum(_total(models), 1.0) * passes
    heads = models.most(models.block["heads"].max(axis=0)) if models.template.blocks else 1.0
    return Operations(
        tuple(out.rows),
        **tables,
        a_width=out.widths("a_width"),
        b_width=out.widths("b_width"),
        out_width=out.widths("out_width"),
        parameters=models.whole(elements_of(tensors, size)),
        in_use=_in_use(step, tensors),
        memory=_memory(step, tensors),
        macs=models.whole(macs),
        executed=models.whole(executed),
        layers=np.broadcast_to(layers, (size,)),
        streams=_streams(step),
        heads=np.broadcast_to(heads, (size,)),
        tables=_tables(step),
        format=workload.format,
        workload=workload,
        graph=out.graph(),
        rewritten=step.saved.rewritten(out),
        fold=models.fold,
    )


def _macs(out: Collector, tables: dict[str, Array], size: int) -> tuple[Array, Array]:
    """(M,) multiply-accumulates of all products: dense, and those that no mask hides."""
    dense, executed = np.zeros(size), np.zeros(size)
    for r, row in enumerate(out.rows):
        if not row.matmul:
            continue
        count, batch, m, k, n, reach = (
            tables[name][r] for name in ("count", "batch", "m", "k", "n", "reach")
        )
        done = count * batch * m * k * n
        executed = executed + done
        if row.grows and reach.any():
            done = count * batch * m * (n if row.grows == "k" else k) * reach
        dense = dense + done
    return dense, executed


def _streams(step: Step) -> Array:
    """(M,) sequences; the batch does not apply to a list whose sizes do not follow it."""
    listing = listing_of(step.models.template)
    if listing is not None and "batch" not in listing.names:
        return np.ones(step.models.size)
    return step.workload.batch


def _total(models: Models) -> Array:
    if not models.template.blocks:
        return np.ones(models.size)
    return models.layers


def _tables(step: Step) -> Array:
    if not step.models.template.blocks:
        return np.zeros(step.models.size)
    numbers, length = step.models.numbers, step.workload.sequence_length
    rows = numbers["vocabulary"] + np.minimum(numbers["positions"], length)
    return step.models.whole(step.models.bottom(rows * step.models.block["hidden"][0]))


def _memory(step: Step, tensors: list[Tensor]) -> dict[str, Array]:
    """Bytes of main memory by use; activations of inference are those alive at once."""
    workload, f, size = step.workload, step.workload.format, step.models.size
    models = step.models
    parameters = models.whole(elements_of(tensors, size))
    mine = [t for t in tensors if workload.training and trained(t, workload)]
    trains = models.whole(elements_of(mine, size))
    # What is frozen needs no wider copy: nothing is added to it.
    copied = trains if workload.training else parameters * f.casts_each_pass
    if workload.training:
        activations = step.saved.bytes_of(models, f.activation, workload.gradient_accumulation)
    else:
        activations = models.most(np.broadcast_to(step.live, (size,)) + 0.0)
    return {
        "weights": _in_use(step, tensors) + copied * f.master,
        "gradients": trains * f.weight_gradient,
        "optimizer": trains * OPTIMIZER_STATES[workload.optimizer] * f.state,
        "activations": activations,
        "cache": _cache(step, size),
    }


def _in_use(step: Step, tensors: list[Tensor]) -> Array:
    """(M,) bytes of the weights that products read."""
    f, models, size = step.workload.format, step.models, step.models.size
    weights = models.whole(elements_of(tensors, size)) * f.weight
    packed = [t for t in tensors if step.out.packed.intersection(t.parameters)]
    if not packed:
        return weights
    return weights + models.whole(elements_of(packed, size)) * (f.packed_weight - f.weight)


def _cache(step: Step, size: int) -> Array:
    workload, block = step.workload, step.models.block
    total = np.zeros(size)
    if not workload.generates:
        return total
    for i, b in enumerate(step.models.template.blocks):
        if not b.causal and not b.cross_attention:
            continue
        encoder_decoder = b.cross_attention
        # The last token generated is never attended to.
        prompt = np.ones(size) if encoder_decoder else workload.sequence_length
        kept = prompt + workload.generate - 1.0
        if step.models.template.window:
            kept = np.minimum(kept, float(step.models.template.window))
        kept = kept + (workload.sequence_length if encoder_decoder else 0.0)
        width = block["kv_heads"][i] * block["head_size"][i] * workload.format.key_value
        total = total + 2.0 * block["repeat"][i] * workload.batch * kept * width
    return total
