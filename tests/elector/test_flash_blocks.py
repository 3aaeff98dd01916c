"""Blocks of attention kernels on GPUs: how long the longest is, what fits, which SMs have none."""

from __future__ import annotations

import numpy as np
import pytest
from builders import inside

import elector
from elector.events.timeline import timeline
from elector.machines.gpu import attention
from elector.machines.gpu import kernels as gpu_kernels
from elector.machines.gpu import machine as gpu
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


def test_a_block_whose_outputs_leave_no_room_holds_half_as_many_queries() -> None:
    """128 queries of 512 numbers in fp32 are all of the 256 KB of an SM's registers."""
    most, above = (_seconds(_products(128 * 1e4, h, 2048, 1))[0] for h in (256, 512))
    # twice the blocks, of as many products each; their queries come once
    assert above == pytest.approx(4.0 * most, rel=0.02)


def test_two_tiles_in_turns_hide_products_of_heads_that_fit() -> None:
    """512 columns of tensor memory: scores and outputs of two tiles of heads up to 128. The first
    of 16 slices of scores has no softmax to hide behind."""
    turns, plain = _tiles(flash_hidden=0.5), _tiles()
    for head, share in ((64, 0.5 + 0.5 / 16), (128, 0.5 + 0.5 / 16), (256, 1.0)):
        keys, none = (_products(128 * 1e4, head, n, 1) for n in (2048, 0))
        products = [_seconds(keys, own)[0] - _seconds(none, own)[0] for own in (turns, plain)]
        assert products[0] == pytest.approx(share * products[1])


def test_queries_and_outputs_have_nothing_to_hide_behind() -> None:
    """A block of 128 queries of 128 numbers: 32 KB, at what the second-level cache gives an SM."""
    c, d = gpu_kernels.constants(), _device()
    for queries, held in ((128, 128), (64, 64)):
        seconds, _ = _seconds(_products(queries, 128, 0, 100))
        rate = float((d.cache * c.cache_share / d.sms)[0])
        assert seconds == pytest.approx(held * 128 * 2 / rate)


def test_what_a_mask_hides_of_a_block_goes_through_the_softmax_all_the_same() -> None:
    """512 causal queries see 256.5 keys in the mean; blocks of 128 meet 320 of them and those of
    256, as on Blackwell, 384."""
    for device, met in (("h100-sxm-80gb", 256.5 + 63.5), ("b200-sxm-192gb", 256.5 + 127.5)):
        assert _computed(device, 512, 128) == pytest.approx(met / 256.5)


@pytest.mark.parametrize(("head", "at_once"), [(64, 256.0), (128, 128.0), (256, 64.0)])
def test_keys_in_pages_are_taken_by_16384_numbers_on_chips_without_warp_groups(
    head: int, at_once: float
) -> None:
    """FlashAttention-2, run_mha_fwd_splitkv_dispatch: 64 queries, and 256, 128 or 64 keys."""
    more = (at_once - 1.0) / 2.0
    assert _computed("l40s", 512, head) == pytest.approx((256.5 + more) / 256.5)


def _prepared(model: str, device: str, asked: dict[str, object]) -> gpu.PreparedGpu:
    own = inside(model, device, **asked)
    return gpu.prepare(own.ops, np.array([0]), own.units, False)


def _computed(device: str, length: int, head: int) -> float:
    """Keys that a prompt's blocks meet in vLLM, over those that are seen."""
    asked = {"sequence_length": length, "attention": "flash", "implementation": "vllm"}
    asked |= {"model__layers": 1, "model__heads": 8, "model__hidden": 8 * head}
    prepared = _prepared("llama-2-7b", device, asked)
    index, c = np.array([0]), gpu_kernels.constants()
    row = prepared.flash[:1]
    d = gpu.device(c, prepared.units, prepared.ops.format.products, True)
    pages = prepared.paged[:1]
    assert pages.all()
    rows = attention.FlashRows(_one(1.0), np.array([[True]]), paged=pages)
    blocks = attention.skipped(c, d, rows, _one(head))
    return float(np.max(sizes(prepared.ops, prepared.stack, row, index, blocks).computed))


@pytest.mark.parametrize(
    ("model", "stack", "pages"),
    [
        ("llama-2-7b", "vllm", True),
        ("llama-2-7b", "eager", False),
        ("bert-base", "vllm", False),
        ("deepseek-v3", "vllm", False),
    ],
)
def test_prompts_of_decoders_have_keys_in_pages(model: str, stack: str, pages: bool) -> None:
    """Encoders have no cache; keys out of latents are put together before; eager has no pages. A
    prompt of one token is one, too: twice as many never cost less."""
    asked = {"sequence_length": 512, "attention": "flash", "implementation": stack}
    prepared = _prepared(model, "b200-sxm-192gb", asked)
    assert (
        _prepared(model, "b200-sxm-192gb", {**asked, "sequence_length": 1}).paged == pages
    ).all()
    assert prepared.flash.size and (prepared.paged == pages).all()


def test_kernels_of_keys_in_pages_have_a_start_of_their_own() -> None:
    stack = {"flash.start": 7000.0, "flash.paged.start": 3000.0, "flash.rate": 1.0}
    p, c = _products(128, 128, 128, 1), gpu_kernels.constants()
    taken = []
    for pages in (False, True):
        rows = attention.FlashRows(_one(1.0), np.array([[True]]), paged=np.array([[pages]]))
        taken.append(float(attention.flash_seconds(c, _device(), p, rows, stack)[0][0, 0]))
    assert taken[0] - taken[1] == pytest.approx(4000.0 / 1e9)


@pytest.mark.parametrize(
    ("step", "head", "whole"), [(32, 80, 96), (32, 160, 192), (64, 72, 128), (32, 128, 128)]
)
def test_heads_are_padded_to_those_that_kernels_were_built_for(
    step: float, head: float, whole: float
) -> None:
    """HEADDIM_SWITCH of FlashAttention-2: 32, 64, 96, 128, 192 and 256."""
    own = _tiles(flash_head=step)
    assert float(attention.padded(own, _one(head))[0, 0]) == whole


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


@pytest.mark.parametrize("device", ["a100-sxm-80gb", "l40s", "h100-sxm-80gb", "b200-sxm-192gb"])
@pytest.mark.parametrize(
    ("heads", "head", "length"), [(64, 64, 512), (8, 256, 4096), (20, 80, 300)]
)
def test_prompts_in_events_agree_with_the_formula(
    device: str, heads: int, head: int, length: int
) -> None:
    """Blocks of two sizes, masks, padded heads and two tiles in turns, each computed twice."""
    asked = {"model__layers": 1, "model__hidden": heads * head, "model__heads": heads}
    asked |= {"model__kv_heads": heads, "model__feed_forward": 64, "model__head": "none"}
    asked |= {"attention": "flash", "implementation": "vllm", "batch": 64, "precision": "bf16"}
    asked |= {"sequence_length": length, "accelerator__power_limit": 1e6}
    chunk = inside("llama-2-7b", device, **asked, accelerator__host_speed=100)
    assert timeline(chunk).seconds == pytest.approx(float(chunk.timing.seconds[0]), rel=0.02)


def test_a_pass_over_a_short_cache_takes_a_whole_tile_of_keys() -> None:
    """1,000 sequences and heads on 100 SMs: ten blocks each, of 2,000 cycles and 128 keys of 64
    numbers in 16 bits from the second-level cache; half of it with nothing fetched beside."""
    own = _tiles(stream_cycles=2000.0, stream_keys=128.0, stream_hidden=0.5)
    c, d, p = gpu_kernels.constants(), _device(own), _products(1, 64, 8, 1000)
    hidden, empty = attention.stream_starts(c, d, p, np.array([[True]]), True)
    tile = 128 * 64 * 2 / float((d.cache * c.cache_share / d.sms)[0])
    assert float((hidden + empty)[0, 0]) == pytest.approx(10 * (2000 / 1e9 + tile))
    assert float(hidden[0, 0]) == pytest.approx(float(empty[0, 0]))
    # stacks whose kernels were not timed start blocks as all GPUs do
    plain, none = attention.stream_starts(c, d, p, np.array([[True]]), False)
    assert float(plain[0, 0]) == pytest.approx(10 * c.stream_cycles / 1e9) and not none.any()


def test_what_a_block_starts_with_is_not_hidden_by_memory_on_hopper() -> None:
    """Decoding of 256 sequences with 32 heads and 512 keys: a start that others hide takes no time
    beside the memory, one that they do not does."""
    taken = {}
    own = gpu_kernels.measured_tiles()["hopper", "bf16"]
    asked = {"batch": 256, "sequence_length": 512, "generate": 2, "attention": "flash"}
    asked |= {"implementation": "vllm", "precision": "bf16", "model__layers": 1}
    asked |= {"accelerator__power_limit": 1e6}
    kept = dict(own)
    try:
        for part in (1.0, 0.0):
            own["stream_hidden"] = part
            chunk = inside("llama-2-7b", "h200-sxm-141gb", **asked, accelerator__host_speed=100)
            taken[part] = float(chunk.timing.seconds[0])
            assert timeline(chunk).seconds == pytest.approx(taken[part], rel=0.02)
    finally:
        own.clear()
        own.update(kept)
    assert taken[0.0] - taken[1.0] > 2 * 0.9 * 256 * 32 / 132 * 2000 / 1.83e9


def test_stacks_whose_decoding_was_not_timed_pass_as_all_gpus_do() -> None:
    """What vLLM's kernels reach says nothing of others: shares of the memory differ by stack."""
    timed = {n for n, stack in gpu_stacks.stacks().items() if stack["stream.as_timed"]}
    assert timed == {"vllm", "sglang"}
    c, d = gpu_kernels.constants(), _device(_tiles(stream_share=0.95, stream_cycles=2000.0))
    own = attention.streaming(c, d, True)
    assert [float(np.max(x)) for x in (own.stream_cycles, own.stream_share)] == [2000.0, 0.95]
    assert attention.streaming(c, d, False) is attention.streaming(c, _device(), True) is c
