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
from elector.describe.model import Model, Models
from elector.describe.numbers import formats
from elector.describe.workload import OPTIMIZER_STATES, PROMPTS, Workload
from elector.operations.attention import reach_of
from elector.operations.backward import backward
from elector.operations.collect import TABLES, Collector
from elector.operations.forward import blocks, embedding
from elector.operations.graph import Value
from elector.operations.heads import head
from elector.operations.listed import emit, listing_of, require_inference
from elector.operations.passes import norm
from elector.operations.roles import NEVER_PACKED, PARTS, ROUTED, ModelSection, Role
from elector.operations.rows import CLASSES, Operations, Row
from elector.operations.scans import state_of
from elector.operations.scope import Pass, Scope
from elector.operations.step import Step
from elector.operations.tensor import Tensor, elements_of, trained
from elector.operations.tensors import active_elements, parameter_tensors, place_of
from elector.operations.update import cast_weights, update

__all__ = ["CLASSES", "Operations", "Row", "build"]

Array = np.ndarray


def build(models: Models, workload: Workload) -> Operations:
    """All operations of one step of M (model, workload) pairs.

    Raises InputError for a request the model has no meaning for (generation without a
    causal decoder, training in which nothing trains).
    """
    _require_meaning(models, workload)
    kept = NEVER_PACKED.union(*(PARTS[part] for part in workload.kept))
    own = {role: formats()[name] for part, name in workload.parts for role in PARTS[part]}
    step = Step(models, workload, Collector(models.size, workload.format, kept, own))
    _forward(step)
    tensors = parameter_tensors(models, workload)
    if workload.format.casts_each_pass and not workload.training:
        cast_weights(step, tensors)
    if workload.training:
        if not any(trained(t, workload) for t in tensors):
            raise _nothing_trains(models.template, workload)
        backward(step)
        update(step, tensors)
    step.saved.settle(step.out)
    return _finish(step, tensors)


def _nothing_trains(model: Model, workload: Workload) -> InputError:
    """What to raise where no parameter is in the trainable subset."""
    tied = model.head != "none" and model.tied_embeddings
    why = (
        f"the head ({model.head}) is tied to the embedding and has no parameters of its own"
        if tied
        else "the model has no head"
    )
    return InputError(
        f"nothing trains: {why}",
        field="workload.trainable",
        value=workload.trainable,
        hint="lora:R adds parameters that train; all trains the embedding, too"
        if tied
        else "set model.head",
    )


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
    special = float(model.special_tokens)
    length = models.numbers["patches"] + special if vision else workload.sequence_length
    run = Pass("forward", workload.batch, length, length, np.zeros_like(once), times, length)
    read = _encoder_decoder if model.family == "encoder-decoder" else _prompt
    if not workload.generates:
        read(step, run)
        return
    source = length
    for phase in PROMPTS:
        times = workload.passes(phase)
        if phase == PROMPTS[0] or (times > 0).any():
            run = replace(run, phase=phase, batch=workload.prompts(phase), times=times)
            x, source = read(step, run)
    decodes = [i for i, b in enumerate(model.blocks) if b.cross_attention]
    every = decodes if model.family == "encoder-decoder" else range(len(model.blocks))
    prompt = once if model.family == "encoder-decoder" else length
    for decode in decode_passes(step, prompt, source):
        x = _decode(step, decode, every, x)


def _prompt(step: Step, run: Pass) -> tuple[Value, Array]:
    """A prompt through all layers, whole or piece by piece: the result, and the tokens read."""
    x, pieces = None, _pieces(run, step.workload)
    for piece in pieces:
        x = _layers(step, piece, x, on_top=piece is pieces[-1] or not step.workload.generates)
    assert x is not None
    return x, run.queries


def _layers(step: Step, run: Pass, before: Value | None, *, on_top: bool) -> Value:
    """A pass through all layers: its result.

    before : what the piece of the prompt before this one left. on_top : whether what stands on top
    of the layers runs, too.
    """
    models, times = step.models, run.times
    x = embedding(step, replace(run, times=models.bottom(times)), ModelSection.EMBEDDING, before)
    x = blocks(step, run, range(len(models.template.blocks)), x, None)
    if not on_top:
        return x
    last = step.workload.generates
    return head(step, replace(run, times=models.top(times)), x, last_only=last)


def _pieces(run: Pass, workload: Workload) -> list[Pass]:
    """The passes that read a prompt: as many tokens each as are read at once, then the rest.

    The queries of a piece meet the keys of all pieces before and their own.
    """
    if not workload.chunked:
        return [run]
    length, size = run.queries, workload.prefill_chunk
    before = workload.pieces - 1.0
    middle = size * (before + 1.0) / 2.0
    most = np.maximum(before - 1.0, 0.0) * size
    full = replace(run, queries=size, keys=middle, span=most, times=run.times * before)
    rest = replace(run, queries=length - before * size)
    return [replace(full, whole=length, again=True), replace(rest, whole=length)]


def _encoder_decoder(step: Step, run: Pass) -> tuple[Value, Array]:
    """A pass through an encoder and its decoder: the result, and tokens that the encoder read."""
    model, workload, times = step.models.template, step.workload, run.times
    decoders = [i for i, b in enumerate(model.blocks) if b.cross_attention]
    encoders = [i for i, b in enumerate(model.blocks) if not b.cross_attention]
    if model.source_tokens:
        heard = np.full_like(times, float(model.source_tokens))
        run = replace(run, queries=heard, keys=heard, source=heard)
    x = embedding(step, run, ModelSection.ENCODER_EMBEDDING)
    memory = blocks(step, run, encoders, x, None)
    if model.closes:
        scope = Scope(run, place_of(model, encoders[-1]), run.times)
        memory = norm(step, scope, Role.ENCODER_NORM, memory)
    once = np.ones_like(times)
    length = workload.target_length if not workload.generates else once
    target = Pass(run.phase, run.batch, length, length, 0.0 * once, times, run.queries)
    x = embedding(step, target, ModelSection.DECODER_EMBEDDING)
    x = blocks(step, target, decoders, x, memory)
    return head(step, target, x, last_only=workload.generates), run.queries


def decode_passes(step: Step, prompt: Array, source: Array) -> list[Pass]:
    """Generation: the prompt gives the first token, each further one attends to all before it.

    With a window (Mistral, arXiv 2310.06825, section 2) the keys grow up to it and stay there:
    where blocks reach back differently far, a pass for the tokens between one reach and the next.

    source : (M,) tokens of the encoder's output, 0 without one.
    """
    batch, once = step.workload.batch, np.ones_like(prompt)
    tokens = np.maximum(step.workload.generate - 1.0, 0.0)
    model = step.models.template
    decoding = model.family != "encoder-decoder"
    reaches = [
        reach_of(step.models, i)
        for i, b in enumerate(model.blocks)
        if (decoding or b.cross_attention) and (b.window or b.chunk or b.index_top_k)
    ]
    ends = [np.clip(most - prompt, 0.0, tokens) for most in np.sort(reaches, axis=0)]
    passes: list[Pass] = []
    start = np.zeros_like(prompt)
    for end in [*ends, tokens]:
        number = end - start
        if not passes or (number > 0).any():
            middle = prompt + start + (number + 1.0) / 2.0
            span = np.maximum(number - 1.0, 0.0)
            passes.append(Pass("decode", batch, once, middle, span, number, source))
        start = end
    return passes


def _decode(step: Step, run: Pass, indices: Iterable[int], before: Value) -> Value:
    """One token after another, each from the one before."""
    x = embedding(step, run, ModelSection.EMBEDDING, before)
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
        active=models.whole(active_elements(models, tensors)),
        memory=_memory(step, tensors),
        macs=models.whole(macs),
        executed=models.whole(executed),
        layers=np.broadcast_to(layers, (size,)),
        streams=_streams(step),
        heads=np.broadcast_to(heads, (size,)),
        tables=_tables(step),
        format=workload.format,
        workload=workload,
        graph=out.graph(tables["count"]),
        rewritten=step.saved.rewritten(out),
        routed=out.routed,
        fold=models.fold,
    )


def _macs(out: Collector, tables: dict[str, Array], size: int) -> tuple[Array, Array]:
    """(M,) multiply-accumulates of all products: dense, and those that no mask hides."""
    dense, executed, uncut = np.zeros(size), np.zeros(size), tables["dense"]
    for r, row in enumerate(out.rows):
        if not row.matmul:
            continue
        count, batch, m, k, n = (tables[name][r] for name in ("count", "batch", "m", "k", "n"))
        done = count * batch * m * k * n
        if row.role in ROUTED:  # so many experts on average, but whole tokens
            done = np.rint(done)
        executed = executed + done
        if row.grows and uncut[r].any():
            done = count * batch * m * (n if row.grows == "k" else k) * uncut[r]
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
    held = _largest if _one_at_a_time(step) else elements_of
    parameters = models.whole(held(tensors, size))
    mine = [t for t in tensors if workload.training and trained(t, workload)]
    trains = models.whole(held(mine, size))
    # What is frozen needs no wider copy: nothing is added to it.
    copied = trains if workload.training else parameters * f.casts_each_pass
    if workload.training and _one_at_a_time(step):
        activations = step.saved.largest(size) * f.activation
    elif workload.training:
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


def _one_at_a_time(step: Step) -> bool:
    """Whether the products of a list come one after another: memory holds the largest alone."""
    return step.models.template.family == "gemm" and step.workload.residency == "none"


def _largest(tensors: list[Tensor], size: int) -> Array:
    """(M,) elements of the largest tensor."""
    most = np.zeros(size)
    for t in tensors:
        most = np.maximum(most, t.elements)
    return most


def _in_use(step: Step, tensors: list[Tensor]) -> Array:
    """(M,) bytes of the weights that products read."""
    f, models, size = step.workload.format, step.models, step.models.size
    stored = {t: step.out.packed[p] for t in tensors for p in t.parameters if p in step.out.packed}
    packed = [t for t in tensors if t in stored]
    if _one_at_a_time(step):
        plain = [t for t in tensors if t not in packed] if packed else tensors
        narrow = _largest(packed, size) * f.packed_weight
        return np.maximum(_largest(plain, size) * f.weight, narrow)
    weights = models.whole(elements_of(tensors, size)) * f.weight
    for width in dict.fromkeys(stored[t] for t in packed):
        narrow = elements_of([t for t in packed if stored[t] == width], size)
        weights = weights + models.whole(narrow) * (width - f.weight)
    return weights


def _cache(step: Step, size: int) -> Array:
    """Bytes of keys and values of earlier tokens, latents, and states, of every layer."""
    workload, block = step.workload, step.models.block
    total = np.zeros(size)
    if not workload.keeps.any():
        return total
    for i, b in enumerate(step.models.template.blocks):
        if not b.causal and not b.cross_attention:
            continue
        encoder_decoder = b.cross_attention
        # The last token generated is never attended to.
        prompt = np.ones(size) if encoder_decoder else workload.sequence_length
        kept = prompt + np.maximum(workload.generate - 1.0, 0.0)
        if b.window or b.chunk:
            kept = np.minimum(kept, reach_of(step.models, i, ("window", "chunk")))
        if encoder_decoder:
            heard = step.models.template.source_tokens
            kept = kept + (float(heard) if heard else workload.sequence_length)
        total = total + block["repeat"][i] * workload.batch * _kept_numbers(step, i, kept)
    return total


def _kept_numbers(step: Step, i: int, kept: Array) -> Array:
    """Bytes that a layer keeps of a sequence of which it keeps `kept` (M,) tokens."""
    models, f, block = step.models, step.workload.format, step.models.template.blocks[i]
    bytes_ = 0.0 * kept
    if block.scans:
        state, taps = state_of(models, i), float(block.kernel)
        bytes_ = bytes_ + (state.size + state.convolved * taps) * f.activation
    if block.scans == block.mixer or block.mixer == "none":
        return bytes_
    index = models.at("index_head_size", i) * (models.at("index_heads", i) > 0)
    if block.mixer == "latent":
        width = models.at("kv_lora_rank", i) + models.at("rope_head_size", i)
        return kept * (width + index) * f.key_value
    size, own = models.block["head_size"][i], models.at("value_head_size", i)
    both = np.where(own > 0, size + own, 2.0 * size)
    return bytes_ + kept * (models.block["kv_heads"][i] * both + index) * f.key_value
