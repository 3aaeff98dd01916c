"""Kernels of latent attention on GPUs: what they fetch once, start with, and what is copied beside
them; and what experts quantise and scale."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from elector.base.table import Column
from elector.evaluation.path import evaluate, inspect
from elector.evaluation.resolve import resolve
from elector.events.timeline import timeline
from elector.machines.gpu import machine as gpu
from elector.machines.gpu.dispatch import promoted, promotes, quantised_elements
from elector.machines.gpu.kernels import constants, measured_tiles
from elector.machines.gpu.latent import LatentKernels, latent_pairs, pass_cycles
from elector.machines.gpu.stacks import kernels, quantised, stacks
from elector.operations import build
from elector.operations.roles import Role
from elector.operations.rows import Operations
from elector.studies.simulation import columns_of
from elector.technology import Technology

HEADS, TOKENS, BATCH = 128.0, 4096.0, 8.0
H100, B200, L40S = "h100-sxm-80gb", "b200-sxm-192gb", "l40s"


def _settings(device: str = H100, **changes: object) -> dict[str, object]:
    return {
        "model": "deepseek-v3",
        "accelerator": device,
        "model.layers": 1,
        "model.dense_layers": 1,
        "model.heads": HEADS,
        "model.positions": 200_000,
        "workload.batch": BATCH,
        "workload.sequence_length": TOKENS,
        "workload.generate": 2,
        "workload.precision": "bf16",
        "workload.weights": "bf16",
        "workload.attention": "flash",
        "workload.implementation": "vllm",
        "accelerator.memory_capacity": 1e16,
        "accelerator.power_limit": 1e6,
        "accelerator.host_speed": 100,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }


def _prepared(device: str = H100, **changes: object) -> gpu.PreparedGpu:
    group = next(iter(resolve(columns_of(_settings(device, **changes)), 1)))
    return gpu.prepare(build(group.models, group.workload), group.pair, group.units, True)


def _kernels(p: gpu.PreparedGpu) -> LatentKernels:
    d = gpu.device(p.constants, p.units, p.ops.format.products, True)
    return LatentKernels(p.ops, p.latents, p.stack, p.constants, d, p.index)


def _decoding(p: gpu.PreparedGpu) -> tuple[int, int]:
    (pair,) = [pair for pair in p.latents if pair.absorbed]
    return pair.scores, pair.context


def _prompt(p: gpu.PreparedGpu) -> tuple[int, int]:
    pair = next(pair for pair in p.latents if not pair.absorbed)
    return pair.scores, pair.context


def test_a_pass_over_a_latent_brings_it_in_once() -> None:
    """Of 576 numbers a token (512 of them the values, too), 2 bytes each."""
    p = _prepared(workload__batch=64)
    details = p.activity(slice(None)).details
    assert details is not None
    moved = details.traffic[1][list(_decoding(p)), 0]
    beside = 64 * HEADS * 2 * np.array([576, 512])  # queries, and outputs
    latent = 64 * (TOKENS + 1) * 576 * 2
    assert moved.sum() == pytest.approx(latent + beside.sum(), rel=1e-3)
    keys, values = moved - beside
    assert keys / values == pytest.approx(576 / 512)
    two = _prepared(workload__batch=64, workload__attention="unfused")
    assert not two.latents


def test_other_attention_has_no_latents() -> None:
    for model in ("llama-2-7b", "bert-base"):
        cells = {"model": model, "accelerator": H100, "workload.attention": "flash"}
        group = next(iter(resolve(columns_of(cells), 1)))
        assert latent_pairs(build(group.models, group.workload).rows, "flash") == []


def test_cycles_of_a_pass_by_hand() -> None:
    """8 sequences of 4,097 keys and 128 heads in 2 blocks of 64: 16 x 16.004 pieces of 256 keys on
    132 SMs; 64 x 256 x 576 and 64 x 256 x 512 multiply-accumulates of each at 0.75 of 2,048; half
    of 8,000 cycles to start, at each of the products."""
    p = _prepared()
    own = replace(_kernels(p).own, latent_rate=np.array([0.75]))  # type: ignore[type-var]
    (pair,) = [pair for pair in p.latents if pair.absorbed]
    sms, rate = np.array([132.0]), np.array([2048.0])
    cycles, idle = pass_cycles(p.ops, pair, own, (sms, rate), p.index)
    keys = float(p.ops.n[pair.scores, 0])
    assert keys == pytest.approx(TOKENS, abs=2)
    rounds = 16 * keys / 256 / 132
    assert idle[0] == pytest.approx(1.0)
    for cycle, width in zip(cycles[:, 0], (576, 512), strict=True):
        assert cycle == pytest.approx(rounds * 64 * 256 * width / (0.75 * 2048) + 4000)


def test_few_pieces_leave_processors_idle() -> None:
    p = _prepared(workload__batch=1, workload__sequence_length=511, model__heads=1)
    (pair,) = [pair for pair in p.latents if pair.absorbed]
    sms, rate = np.array([132.0]), np.array([2048.0])
    own = _kernels(p).own
    assert own is not None
    cycles, idle = pass_cycles(p.ops, pair, own, (sms, rate), p.index)
    keys = float(p.ops.n[pair.scores, 0])
    assert idle[0] == pytest.approx(132 / (keys / 256))
    # One round of pieces of 256 keys by 16 rows, of which one is a head.
    assert cycles[0, 0] == pytest.approx(16 * 256 * 576 / (0.75 * 2048) + 4000)


def test_blocks_of_heads_bring_the_latent_to_processors_again() -> None:
    """16 heads a block of Triton's kernel (L40S), 64 of FlashMLA's (H100), 128 on B200."""
    for device, times in ((L40S, 8), (H100, 2), (B200, 1)):
        p = _prepared(device)
        fetches = _kernels(p).fetches()[:, 0]
        assert fetches[list(_decoding(p))].tolist() == [times, times]
        assert set(np.delete(fetches, _decoding(p))) == {1.0}


def test_what_is_copied_beside_a_prompt() -> None:
    """Keys of 192 numbers: 128 read and 192 written; outputs of 128 read and written."""
    p = _prepared(B200)
    scores, context = _prompt(p)
    moved, work = _kernels(p).laid_out()
    numbers = BATCH * TOKENS * HEADS * 2
    assert moved[scores, 0] == pytest.approx(numbers * (128 + 192), rel=1e-3)
    assert moved[context, 0] == pytest.approx(numbers * 2 * 128)
    assert not work[[scores, context]].any()
    assert _kernels(p).copies()[[scores, context], 0].tolist() == [2, 1]


def test_queries_are_put_together_where_a_kernel_wants_that() -> None:
    """576 numbers a head: read and written, 2 cycles of an SM for each (vLLM on B200 alone)."""
    p = _prepared(B200)
    scores = _decoding(p)[0]
    moved, work = _kernels(p).laid_out()
    assert moved[scores, 0] == BATCH * HEADS * 576 * 2 * 2
    assert work[scores, 0] == BATCH * HEADS * 576 * 2
    assert _kernels(p).copies()[scores, 0] == 1
    for device, stack in ((H100, "vllm"), (B200, "tensorrt-llm")):
        p = _prepared(device, workload__implementation=stack)
        scores = _decoding(p)[0]
        assert _kernels(p).laid_out()[0][scores, 0] == _kernels(p).copies()[scores, 0] == 0


def test_scores_of_192_have_two_tiles_in_turns_where_outputs_of_128_do() -> None:
    """Tensor memory holds the outputs; a head of 192 of both would not fit."""
    p = _prepared(B200, workload__batch=1, workload__sequence_length=32768)
    scores, context = _prompt(p)
    seconds = p.activity(slice(None)).busy["device"][[scores, context], 0]
    copied = _kernels(p).laid_out()[0][[scores, context], 0]
    assert copied.all()
    assert seconds[0] / seconds[1] < 2.0


@pytest.mark.parametrize("stack", ["vllm", "tensorrt-llm", "sglang", "eager"])
@pytest.mark.parametrize("device", [H100, B200, L40S, "a100-sxm-80gb", "rtx-pro-6000"])
def test_more_heads_tokens_and_sequences_never_take_less(device: str, stack: str) -> None:
    axes: dict[str, list[object]] = {
        "model.heads": [1, 2, 8, 15, 16, 17, 32, 63, 64, 65, 127, 128],
        "workload.batch": [1, 2, 3, 8, 31, 32, 33, 64, 100, 132, 133, 256, 1024],
        "workload.sequence_length": [1, 16, 127, 255, 256, 257, 1000, 4096, 16384, 65536],
    }
    for axis, values in axes.items():
        plain = _settings(device, workload__implementation=stack)
        columns = {key: Column.of([value] * len(values)) for key, value in plain.items()}
        columns[axis] = Column.of(values)
        costs = evaluate(columns, len(values), jobs=1)
        assert costs.feasible.all()
        for name in ("latency_s", "time_per_output_token_s"):
            seconds = costs.scalars[name]
            assert (np.diff(seconds) >= -1e-12).all(), (axis, name, seconds)


@pytest.mark.parametrize("device", [H100, B200, L40S])
@pytest.mark.parametrize(
    ("heads", "batch", "length"), [(128, 8, 4096), (16, 64, 1024), (1, 4, 300)]
)
def test_events_agree_with_the_formula(device: str, heads: int, batch: int, length: int) -> None:
    settings = _settings(
        device,
        model__heads=heads,
        workload__batch=batch,
        workload__sequence_length=length,
    )
    chunk = inspect(columns_of(settings), Technology.load())
    assert timeline(chunk).seconds == pytest.approx(float(chunk.timing.seconds[0]), rel=0.01)


# ---- experts ----


MIXTURE: dict[str, object] = {
    "model": "llama-2-7b",
    "accelerator": H100,
    "model.layers": 1,
    "model.experts": 16,
    "model.experts_per_token": 4,
    "model.expert_feed_forward": 1024,
    "model.routing": 0,
    "workload.sequence_length": 512,
    "workload.precision": "fp8",
    "workload.attention": "flash",
    "workload.implementation": "vllm",
}


def _mixture(**changes: object) -> Operations:
    cells = MIXTURE | {key.replace("__", "."): value for key, value in changes.items()}
    group = next(iter(resolve(columns_of(cells), 1)))
    return build(group.models, group.workload)


def _place(ops: Operations, role: Role) -> int:
    return next(i for i, row in enumerate(ops.rows) if row.role is role and row.matmul)


def test_experts_quantise_tokens_once_before_they_are_dealt_out() -> None:
    """512 tokens of 4,096 numbers, not 4 x 512 for the products in and again for the gate."""
    ops = _mixture()
    asked = quantised(ops.rows, ops.workload)
    elements = quantised_elements(ops, asked, np.array([0]))[:, 0]
    assert elements[_place(ops, Role.EXPERT_IN)] == 512 * 4096
    assert elements[_place(ops, Role.EXPERT_GATE)] == 0
    assert elements[_place(ops, Role.EXPERT_OUT)] == 4 * 512 * 1024
    launched = kernels(ops.rows, stacks()["vllm"], ops.workload)
    assert launched[_place(ops, Role.EXPERT_GATE)] == 1.0


def test_scales_of_blocks_are_applied_to_partial_sums() -> None:
    """128 rows: as many outputs each 128 of the sum as there are weights; seven operations each."""
    assert promoted(np.array([128.0]), np.array([3.0]), 7.0)[0] == 21.0
    assert promoted(np.array([64.0]), np.array([3.0]), 7.0)[0] == 10.5
    blocks = _mixture(workload__weights="fp8-block")
    expert, query = _place(blocks, Role.EXPERT_IN), _place(blocks, Role.OUTPUT)
    assert promotes(blocks.rows[expert], blocks.format)
    assert not promotes(blocks.rows[query], blocks.format)  # timed of experts alone
    for other in ("int4", "fp8"):
        ops = _mixture(workload__weights=other)
        assert not promotes(ops.rows[_place(ops, Role.EXPERT_IN)], ops.format)


@pytest.mark.parametrize("device", [H100, B200])
def test_events_apply_scales_of_blocks_as_the_formula_does(device: str) -> None:
    """1.5 and 1.9 times as long as with one scale a tensor, in both."""
    cells: dict[str, object] = {
        **MIXTURE,
        "model.expert_feed_forward": 4096,
        "accelerator": device,
        "workload.batch": 8,
        "workload.sequence_length": 2048,
        "accelerator.power_limit": 1e6,
        "accelerator.host_speed": 100,
    }
    times = []
    for weights in ("fp8", "fp8-block"):
        settings = columns_of({**cells, "workload.weights": weights})
        chunk = inspect(settings, Technology.load())
        times.append(float(chunk.timing.seconds[0]))
        assert timeline(chunk).seconds == pytest.approx(times[-1], rel=0.02)
    assert 1.3 < times[1] / times[0] < 2.1


def test_constants_of_latents_have_a_range() -> None:
    c = constants()
    for own in measured_tiles().values():
        assert 0.0 < own.get("latent_share", c.latent_share) <= 1.0
        assert 0.0 < own.get("latent_rate", c.latent_rate) <= 1.0
        assert own.get("latent_start", c.latent_start) > 0.0
        assert own.get("latent_heads", c.latent_heads) >= 16.0
