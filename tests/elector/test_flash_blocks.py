"""Blocks of attention kernels on GPUs: how long the longest is, what fits, which SMs have none."""

from __future__ import annotations

import numpy as np
import pytest
from builders import inside

import elector
from elector.machines.gpu import attention
from elector.machines.gpu import kernels as gpu_kernels
from elector.machines.gpu import stacks as gpu_stacks
from elector.machines.gpu.kernels import Device, GpuProducts, TileConstants
from elector.machines.gpu.sizes import sizes

ATTENTION = ("scores", "softmax", "context")


def _one(value: float) -> np.ndarray:
    return np.array([[value]])


def _tiles(**own: float) -> TileConstants:
    c = gpu_kernels.constants()
    values = {name: own.get(name, getattr(c, name)) for name in gpu_kernels.TILES_OF}
    return TileConstants(**{name: np.array([value]) for name, value in values.items()})


def _device(tiles: TileConstants | None = None) -> Device:
    """100 SMs of 1 GHz and 1,024 multiply-accumulates a cycle."""
    figures = (100.0, 1e9, 1024.0, True, 2e12, 1e13, 1e13, 1e12)
    return Device(*(np.array([x]) for x in figures), tiles=tiles)


def _products(
    queries: float, head: float, keys: float, batch: float, longest: float = 1.0
) -> GpuProducts:
    """Scores of `batch` heads in 16 bits."""
    sides = [_one(x) for x in (queries, head, keys, batch)]
    return GpuProducts(
        *sides,
        first=_one(head),
        second=_one(keys),
        width=_one(2.0),
        backward=_one(0.0) > 0,
        longest=longest,
    )


def _seconds(p: GpuProducts, tiles: TileConstants | None = None) -> tuple[float, float]:
    """Seconds of scores without a start, and of a softmax over those of one on all SMs."""
    c, rows = gpu_kernels.constants(), attention.FlashRows(_one(0.0), np.array([[True]]))
    seconds, spread = attention.flash_seconds(c, _device(tiles), p, rows)
    return float(seconds[0, 0]), float(spread[0, 0])


def test_the_longest_block_of_a_causal_mask_is_waited_for() -> None:
    """50 blocks on 100 SMs: the kernel takes as long as the longest of them alone."""
    alone, _ = _seconds(_products(128, 128, 2048, 1))
    half, _ = _seconds(_products(6400, 128, 1024, 1, longest=2.0))
    assert half == pytest.approx(alone)
    # of a hundred rounds it is one more
    even, _ = _seconds(_products(128 * 1e4, 128, 1024, 1))
    uneven, _ = _seconds(_products(128 * 1e4, 128, 1024, 1, longest=2.0))
    assert uneven / even == pytest.approx(1.01, rel=1e-3)


def test_a_softmax_runs_where_its_block_is() -> None:
    """Ten blocks on a hundred SMs: nine tenths of the special functions are idle."""
    assert _seconds(_products(1280, 128, 2048, 1))[1] == pytest.approx(10.0)
    assert _seconds(_products(12800, 128, 2048, 1))[1] == pytest.approx(1.0)
    assert _seconds(_products(12800, 128, 1024, 1, longest=2.0))[1] == pytest.approx(2.0)


@pytest.mark.parametrize(("head", "as_long_as"), [(72, 80), (65, 80), (64, 64), (80, 80)])
def test_heads_are_padded_to_a_matrix_instruction(head: float, as_long_as: float) -> None:
    """PTX ISA, mma.m16n8k16 and tcgen05.mma: 32 bytes of k."""
    padded, whole = (_seconds(_products(12800, h, 2048, 1))[0] for h in (head, as_long_as))
    assert padded == whole


def test_a_block_whose_outputs_leave_no_room_holds_half_as_many_queries() -> None:
    """128 queries of 512 numbers in fp32 are all of the 256 KB of an SM's registers."""
    most, above = (_seconds(_products(128 * 1e4, h, 2048, 1))[0] for h in (256, 512))
    assert above == pytest.approx(4.0 * most, rel=1e-3)


def test_two_tiles_in_turns_hide_products_of_heads_that_fit() -> None:
    """512 columns of tensor memory: scores and outputs of two tiles of heads up to 128."""
    turns, plain = _tiles(flash_hidden=0.5), _tiles()
    for head, share in ((64, 0.5), (128, 0.5), (256, 1.0)):
        p = _products(128 * 1e4, head, 2048, 1)
        c = gpu_kernels.constants()
        operands = c.operand_share * 2.0 / c.cache_bytes
        assert operands < 0.1 * 128 / (1024 * c.tensor_share)
        assert _seconds(p, turns)[0] == pytest.approx(share * _seconds(p, plain)[0])


def _attention(device: str, **settings: object) -> dict[str, float]:
    asked = {f"workload.{key}": value for key, value in settings.items()}
    asked |= {"workload.attention": "flash", "workload.precision": "bf16"}
    asked |= {"accelerator.power_limit": "1 MW", "model.positions": 1 << 20}
    rows = elector.simulate("gpt2", device, settings=asked, operations=True)["operations"]
    return {name: sum(o["seconds"] for o in rows if o["name"] == name) for name in ATTENTION}


def test_one_prompt_takes_more_than_its_part_of_many() -> None:
    """Twelve heads of 1,024 tokens are 96 blocks of 132 SMs, the longest with 1,024 keys, the mean
    with 576: 1.78 blocks of the mean where many prompts take 0.73."""
    one, many = (_attention("h100-sxm-80gb", batch=b, sequence_length=1024) for b in (1, 64))
    assert one["softmax"] * 64 / many["softmax"] == pytest.approx(1.78 / 0.73, rel=0.03)


@pytest.mark.parametrize(("window", "longest"), [(0, 2.0), (256, 1.2)])
def test_a_window_leaves_blocks_of_about_one_length(window: int, longest: float) -> None:
    """Without one the last queries see twice the mean; with 256 a block of 128 meets 383 keys at
    most, and 319 in the mean."""
    asked = {"model.window": window} if window else {}
    assert _longest(65536, asked) == pytest.approx(longest, rel=0.01)


def test_a_piece_of_a_prompt_has_blocks_of_about_one_length() -> None:
    """512 queries behind tens of thousands of keys: the mask hides a few of the last 512."""
    assert 1.0 < _longest(65536, {"workload.prefill_chunk": 512}) < 1.02


def _longest(length: int, settings: dict[str, object]) -> float:
    """Keys of the longest block over the mean, of the first product of a prompt's attention."""
    asked = {
        "sequence_length": length,
        "attention": "flash",
        "implementation": "vllm",
        "model__layers": 1,
        **{key.replace("workload.", "").replace(".", "__"): v for key, v in settings.items()},
    }
    ops = inside("llama-2-7b", "h100-sxm-80gb", **asked).ops
    row = ops.where(name="scores", matmul=True)[:1]
    stack = gpu_stacks.stacks()["vllm"]
    return float(np.max(sizes(ops, stack, row, np.array([0]), 128.0).longest))


def test_stacks_whose_decoding_was_not_timed_pass_as_all_gpus_do() -> None:
    """What vLLM's kernels reach says nothing of others: shares of the memory differ by stack."""
    timed = {n for n, stack in gpu_stacks.stacks().items() if stack["stream.as_timed"]}
    assert timed == {"vllm", "sglang"}
    c, d = gpu_kernels.constants(), _device(_tiles(stream_share=0.95, stream_cycles=2000.0))
    own = attention.streaming(c, d, True)
    assert [float(np.max(x)) for x in own] == [2000.0, 0.95]
    assert attention.streaming(c, d, False) == (c.stream_cycles, c.stream_share)
    assert attention.streaming(c, _device(), True) == (c.stream_cycles, c.stream_share)
