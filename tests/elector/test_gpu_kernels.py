"""Single kernels of GPUs: tiles, splits, alignment, flash attention, passes over a cache."""

from __future__ import annotations

import numpy as np
import pytest
from amounts import draws
from hypothesis import given
from hypothesis import strategies as st

import elector
from elector.base.table import Column
from elector.evaluation.path import evaluate
from elector.machines.gpu import attention
from elector.machines.gpu import kernels as gpu_kernels
from elector.machines.gpu import stacks as gpu_stacks
from elector.studies.simulation import columns_of
from elector.technology import Technology

# ---- products ----


def _device(**changes: float) -> gpu_kernels.Device:
    values = {
        "sms": 108.0,
        "clock": 1.41e9,
        "rate": 1024.0,
        "bandwidth": 1.555e12,
        "lanes": 9.75e12,
        "cache": 9.7e12,
        "special": 2.4e12,
        **changes,
    }
    return gpu_kernels.Device(
        **{k: np.array([v]) for k, v in values.items()}, tensor=np.array([True])
    )


def _product(m: float, k: float, n: float, batch: float = 1.0, **changes: float) -> float:
    seconds, _ = gpu_kernels.product_seconds(
        gpu_kernels.constants(), _device(**changes), _products(m, k, n, batch)
    )
    return float(seconds[0, 0])


def _products(
    m: float, k: float, n: float, batch: float = 1.0, across: bool = False
) -> gpu_kernels.GpuProducts:
    sizes = [np.array([[float(x)]]) for x in (m, k, n, batch, m if across else k, n)]
    return gpu_kernels.GpuProducts(*sizes, np.array([[2.0]]), np.array([[False]]))


@given(
    m=st.integers(1, 9000), k=st.integers(1, 9000), n=st.integers(1, 9000), batch=st.integers(1, 64)
)
def test_a_product_is_never_faster_than_the_peak(m: int, k: int, n: int, batch: int) -> None:
    assert _product(m, k, n, batch) >= batch * m * k * n / (108 * 1024 * 1.41e9)


@given(m=st.integers(1, 4096), k=st.integers(1, 4096), n=st.integers(1, 4096))
def test_more_of_a_product_never_costs_less(m: int, k: int, n: int) -> None:
    base = _product(m, 8 * k, 8 * n)
    assert _product(2 * m, 8 * k, 8 * n) >= base
    assert _product(m, 8 * k, 8 * n, 2) >= base


def test_a_misaligned_product_is_slower_on_tensor_cores() -> None:
    aligned = _product(4096, 1024, 30528)
    assert 1.02 * aligned < _product(4096, 1024, 30522) < 2 * aligned
    assert _product(4096, 1020, 4096) > 1.02 * _product(4096, 1024, 4096)


def test_alignment_counts_along_memory_alone() -> None:
    """A gradient of weights sums over tokens, along which no operand lies in memory."""
    c, d = gpu_kernels.constants(), _device()
    odd, even = (
        gpu_kernels.product_seconds(c, d, _products(1024, k, 4096, across=True))[0]
        for k in (4095, 4096)
    )
    assert odd == even
    loose = gpu_kernels.product_seconds(c, d, _products(1023, 4096, 4096, across=True))[0]
    assert loose > gpu_kernels.product_seconds(c, d, _products(1024, 4096, 4096, across=True))[0]


@pytest.mark.parametrize("grow", ["m", "k", "n", "batch"])
def test_a_larger_product_of_whole_rows_never_costs_less(grow: str) -> None:
    """Every step of 16, splits and waves included; between them no more than a copy's worth."""
    sizes = {"m": 48.0, "k": 512.0, "n": 256.0, "batch": 3.0}
    step = 1 if grow == "batch" else 16
    values = [_product(**{**sizes, grow: float(x)}) for x in range(step, 220 * step, step)]
    assert (np.diff(values) >= 0).all()


def test_split_k_fills_the_device() -> None:
    # one tile of outputs and a deep k: splitting it is what keeps more than one SM busy
    one_sm = 128 * 128 * 65536 / (1024 * 1.41e9)
    assert _product(128, 65536, 128) < one_sm / 4


def test_many_waves_approach_the_tile_rate() -> None:
    peak = 108 * 1024 * 1.41e9
    assert 8192**3 / _product(8192, 8192, 8192) / peak > 0.75
    assert 512**3 / _product(512, 512, 512) / peak < 0.4


# ---- attention ----


def _flash(queries: float, keys: float, size: float, batch: float, starts: bool = True) -> float:
    p = _products(queries, size, keys, batch)
    along = np.array([[True]])
    rows = attention.FlashRows(np.array([[float(starts)]]), along)
    seconds, _ = attention.flash_seconds(gpu_kernels.constants(), _device(), p, rows)
    return float(seconds[0, 0])


def test_flash_attention_reaches_the_rate_of_a_tile_without_a_start_for_each() -> None:
    """One start for a block of queries: long rows run at the rate inside a tile."""
    c = gpu_kernels.constants()
    peak = 108 * 1024 * 1.41e9
    long = 32 * 16384.0 * 65536.0 * 128 / _flash(16384, 65536, 128, 32)
    assert long / peak == pytest.approx(c.tensor_share, rel=0.05)
    short = 32 * 128.0**2 * 128 / _flash(128, 128, 128, 32)
    assert short < 0.3 * long
    assert _flash(4096, 4096, 64, 8, starts=False) < _flash(4096, 4096, 64, 8)


def test_a_block_starts_as_the_kernel_of_the_stack_does() -> None:
    """One block alone is its start and its products; 108 SMs take as many at once."""
    c = gpu_kernels.constants()
    stack = {**attention.PLAIN, "flash.start": 9000.0, "flash.rate": 1.25}
    p = _products(128, 64, 128, 1)

    def seconds(stack: dict[str, float], starts: float) -> float:
        rows = attention.FlashRows(np.array([[starts]]), np.array([[True]]))
        seconds, _ = attention.flash_seconds(c, _device(), p, rows, stack)
        return float(seconds[0, 0])

    whole, inside = seconds(stack, 1.0), seconds(stack, 0.0)
    assert whole - inside == pytest.approx(9000 / 1.41e9)
    products = 128 * 64 * 128 / (1024 * c.tensor_share * 1.25)
    assert inside * 1.41e9 > products
    plain = dict(attention.PLAIN)
    assert seconds(plain, 1.0) - seconds(plain, 0.0) == pytest.approx(c.tile_cycles / 1.41e9)
    assert seconds(plain, 0.0) > inside


def test_stacks_whose_attention_was_timed_have_starts_of_their_own() -> None:
    seconds = {name: stack["flash.start"] for name, stack in gpu_stacks.stacks().items()}
    own = {name for name, start in seconds.items() if start}
    assert own == {"vllm", "sglang", "tensorrt-llm"} and min(seconds[n] for n in own) > 3203


def test_half_of_the_keys_take_half_of_the_time() -> None:
    """What masks away blocks of keys takes their products with it; queries come all the same."""
    all_of_them, half, none = (_flash(8192, n, 128, 32, starts=False) for n in (8192, 4096, 0))
    assert half - none == pytest.approx((all_of_them - none) / 2)
    c, d = gpu_kernels.constants(), _device()
    bytes_ = 8192.0 * 128.0 * 2.0 * 32.0
    assert none == pytest.approx(float((bytes_ / (d.cache * c.cache_share))[0]), rel=0.2)


@pytest.mark.parametrize("grow", ["queries", "keys", "size", "batch"])
def test_more_of_flash_attention_never_costs_less(grow: str) -> None:
    sizes = {"queries": 200.0, "keys": 300.0, "size": 64.0, "batch": 7.0}
    values = [_flash(**{**sizes, grow: float(x)}) for x in range(1, 1500)]
    assert (np.diff(values) >= 0).all()


def _pass(keys: float, batch: float, queries: float = 1.0, scores: bool = True) -> float:
    size = 128.0
    k, n = (size, keys) if scores else (keys, size)
    p = _products(queries, k, n, batch)
    touched = np.array([[2.0 * batch * keys * size]])
    c, d = gpu_kernels.constants(), _device()
    starts, _ = attention.stream_starts(c, d, p, np.array([[True]]), False)
    return float(np.maximum(*attention.stream_seconds(c, d, p, touched, starts))[0, 0])


@pytest.mark.parametrize("scores", [True, False])
def test_decoding_is_a_pass_over_the_cache(scores: bool) -> None:
    """As fast as the cache's memory delivers it, not a start for every 64 keys."""
    c, d = gpu_kernels.constants(), _device()
    keys, batch = 2048.0, 32 * 60.0
    moved = np.array([[2.0 * batch * keys * 128]])
    memory = float(gpu_kernels.memory_seconds(c, d, moved)[0, 0])
    assert _pass(keys, batch, scores=scores) <= memory * (1 + 1e-9)
    assert _product(1, 128, keys, batch) > memory  # what tiles would take
    few, many = (_pass(keys, batch, queries=float(q)) for q in (1, 16))
    assert many == few  # queries that share keys come for nothing


@pytest.mark.parametrize("scores", [True, False])
def test_more_of_a_cache_never_passes_faster(scores: bool) -> None:
    for batch in (1.0, 7.0, 100.0):
        values = np.array([_pass(float(n), batch, scores=scores) for n in range(1, 3000, 7)])
        assert (values[1:] >= values[:-1] * (1 - 1e-12)).all()
    values = np.array([_pass(777.0, float(batch), scores=scores) for batch in range(1, 400)])
    assert (values[1:] >= values[:-1] * (1 - 1e-12)).all()


def test_one_long_sequence_is_split_over_the_processors() -> None:
    """256 keys a piece: one head of 65,536 keys occupies all of them, one of 256 only one."""
    assert _pass(65536, 1) < 2.5 * 65536 / 256 / 108 * _pass(256, 1)


def test_more_but_smaller_processors_give_no_cache_or_functions_for_nothing() -> None:
    """At given rates the share of every one shrinks; data sheets round their rates to 1 %."""
    settings = {"workload.batch": 64, "accelerator.host_speed": 100, "accelerator.power_limit": 1e5}
    one, many = (
        elector.simulate("bert-base", "a100-sxm-40gb", settings={**settings, "accelerator.sms": n})
        for n in (108, 1080)
    )
    for kind in ("softmax", "norm", "activation"):
        seconds = [f["latency_by_kind_s"][kind] for f in (one, many)]
        assert seconds[1] >= seconds[0] * 0.99, kind


# ---- energy ----

NODES = np.exp(np.linspace(np.log(3), np.log(180), 120))


@pytest.mark.parametrize(
    "part",
    [
        *(f"gpu.{f}" for f in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8")),
        *(f"gpu.plain.{f}" for f in ("fp32", "tf32", "fp16", "bf16", "fp8", "int8")),
        "gpu.vector",
        "gpu.special",
    ],
)
def test_energy_falls_with_the_node_without_steps(part: str) -> None:
    """Monotone, and nowhere steeper than a node to the next: 4 % of node are at most 25 %."""
    technology = Technology.load()
    values = np.array([technology.price(part, "energy", float(n)).value for n in NODES])
    ratio = values[1:] / values[:-1]
    assert (ratio >= 1 - 1e-12).all()
    assert ratio.max() < 1.25


def test_a_narrower_format_takes_less_energy_on_the_same_cores() -> None:
    technology = Technology.load()
    for node in (4.0, 7.0, 12.0, 16.0):
        parts = ("gpu.plain.fp32", "gpu.tf32", "gpu.fp16", "gpu.fp8")
        values = [technology.price(part, "energy", node).value for part in parts]
        assert values == sorted(values, reverse=True)
        assert values[0] == technology.price("gpu.fp32", "energy", node).value


def test_cores_and_lanes_are_priced_apart() -> None:
    """A device without tensor cores multiplies in its lanes, whatever the format."""
    ask: dict[str, object] = {"workload.precision": "fp16"}
    terms_of = {
        tensor: elector.explain(
            "bert-tiny", "v100-sxm-16gb", "energy_j", settings={**ask, "accelerator.tensor": tensor}
        )["terms"]
        for tensor in ("true", "false")
    }
    for tensor, terms in terms_of.items():
        counts = {t["name"]: t["count"] for t in terms if "count" in t}  # type: ignore[attr-defined]
        own, other = ("mac", "plain mac") if tensor == "true" else ("plain mac", "mac")
        assert counts[own] > 0 and counts[other] == 0


# ---- what a die holds ----


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bandwidth", "40 TB/s"),
        ("l2", "2 GB"),
        ("fp32_rate", 2e15),
        ("bf16_rate", 5e15),
        ("int8_rate", 1e16),
        ("die", "10 mm2"),
    ],
)
def test_what_a_die_is_stated_to_hold_takes_its_area(key: str, value: object) -> None:
    plain = elector.simulate("bert-tiny", "a100-sxm-40gb")
    assert plain["area_by_part_mm2"]["beyond the die"] == 0.0
    asked = {f"accelerator.{key}": value}
    result = elector.simulate("bert-tiny", "a100-sxm-40gb", settings=asked)
    assert result["area_by_part_mm2"]["beyond the die"] > 0
    shown = elector.explain("bert-tiny", "a100-sxm-40gb", "area_mm2", settings=asked)
    assert shown["value"] == pytest.approx(result["area_mm2"])
    asked = {"accelerator.die": "400 mm2"}
    smaller = elector.simulate("bert-tiny", "a100-sxm-40gb", settings=asked)
    assert smaller["area_mm2"] == pytest.approx(400, rel=1e-3)


# ---- formats ----

FAMILIES = tuple(sorted({name for name, _ in gpu_kernels.measured_tiles()} | {"volta", "turing"}))


def _seconds_in(settings: dict[str, object], fmt: str, unit: str = "") -> float:
    start = f"accelerator.units.{unit}." if unit else "accelerator."
    own = {f"{start}{key}": value for key, value in settings.items() if "." not in key}
    workload = {key: value for key, value in settings.items() if "." in key}
    result = elector.simulate(
        "bert-tiny",
        "hpt" if unit else "gpu",
        settings=own | workload | {f"{start}datapath": fmt},
    )
    assert result["feasible"], result["reason"]
    return float(result["latency_s"])


@pytest.mark.parametrize("unit", ["", "gpu"])
@pytest.mark.parametrize("tensor", ["true", "false"])
@pytest.mark.parametrize("attention", ["unfused", "flash"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrower_format_is_never_slower(
    family: str, attention: str, tensor: str, unit: str
) -> None:
    """Also where it is no faster, whatever was timed of a family in that format alone.

    The clock is so low that nothing but the products decides.
    """
    settings: dict[str, object] = {
        "architecture": family,
        "tensor": tensor,
        "clock": "1 MHz",
        **{f"{fmt}_rate": 20e12 for fmt in ("fp32", "fp16", "bf16")},
        "workload.attention": attention,
        "workload.batch": 64,
    }
    for length in (292, 512)[: draws(2, 1)]:
        sized = settings | {"workload.sequence_length": length}
        wide = _seconds_in(sized, "fp32", unit)
        for fmt in ("fp16", "bf16"):
            assert _seconds_in(sized, fmt, unit) <= wide, (length, fmt)


@pytest.mark.parametrize("fmt", ["bf16", "fp8"])
def test_what_tensor_cores_were_timed_at_says_nothing_of_the_lanes(fmt: str) -> None:
    """Of a device without them every family takes the same, in the event model too."""
    settings: dict[str, object] = {
        "accelerator.tensor": "false",
        "accelerator.datapath": fmt,
        f"accelerator.{fmt}_rate": 20e12,
        "accelerator.clock": "1 MHz",
        "workload.attention": "flash",
        "workload.implementation": "eager",
        "workload.batch": 8,
    }
    results, traces = set(), set()
    for family in FAMILIES:
        own = settings | {"accelerator.architecture": family}
        results.add(elector.simulate("bert-tiny", "gpu", settings=own)["latency_s"])
        traces.add(elector.trace("bert-tiny", "gpu", settings=own).timeline.seconds)
    assert len(results) == len(traces) == 1


def test_tensor_cores_of_a_family_take_tf32_as_sixteen_bits() -> None:
    """The same cores at another rate: a constant of one alone would make the other faster."""
    known = gpu_kernels.measured_tiles()
    for family in FAMILIES:
        own = [known.get((family, fmt)) for fmt in ("tf32", "bf16", "fp16")]
        assert own[0] == own[1] == own[2], family


def test_sixteen_bits_on_tensor_cores_lose_nothing_beside_the_lanes() -> None:
    """Where lanes are the faster ones they multiply with the constants of tensor cores: those of
    16 bits must not be worse. The rate inside flash attention is tensor cores' alone."""
    general = gpu_kernels.constants()
    for (family, fmt), own in gpu_kernels.measured_tiles().items():
        if fmt in ("fp16", "bf16"):
            for name in ("operand_share", "wave_share", "tile_cycles"):
                assert own.get(name, 0.0) <= getattr(general, name), (family, fmt, name)


def test_products_are_worked_out_once_for_designs_that_share_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What differs beside the model, its workload and the processors changes no tile."""
    sizes: list[int] = []

    def counted(
        c: gpu_kernels.Constants, d: gpu_kernels.Device, p: gpu_kernels.GpuProducts
    ) -> tuple[np.ndarray, np.ndarray]:
        sizes.append(p.m.shape[1])
        return gpu_kernels.product_seconds(c, d, p)

    monkeypatch.setattr("elector.machines.gpu.machine.product_seconds", counted)
    columns = columns_of({"model": "bert-base", "accelerator": "a100-sxm-40gb"}, 24)
    columns["workload.batch"] = Column.of([1, 2] * 12)
    columns["accelerator.sms"] = Column.of([54, 54, 108, 108] * 6)
    columns["accelerator.power_limit"] = Column.of([100.0 + 10.0 * i for i in range(24)])
    cost = evaluate(columns, 24)
    assert sizes == [4]
    for i in range(24):
        own = {key: column.take(np.array([i])).compact() for key, column in columns.items()}
        assert evaluate(own, 1).scalars["latency_s"][0] == cost.scalars["latency_s"][i]
