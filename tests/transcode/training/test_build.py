"""What is trained is what is simulated: parameters and products of the modules we build."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elector.base.errors import InputError
from elector.describe.model import Model
from elector.describe.variants import with_settings
from elector.describe.workload import Workload
from elector.operations import Operations
from elector.operations import build as operations

pytestmark = pytest.mark.extras("torch")

SMALL = {"model.layers": 2, "model.hidden": 32, "model.heads": 4, "model.feed_forward": 48}
HETEROGENEOUS: dict[str, object] = {
    "l": 4,
    "o": [
        ["sa_sdp_8", "sa_wma_8", "c_5_8", "l_dft_8"],
        ["sa_sdp_8", "sa_wma_8", "c_5_8", "l_dft_8"],
        ["l_dct_12", "c_9_12", "c_13_12"],
        ["sa_wma_16", "l_dft_16", "l_dct_16"],
    ],
    "h": [32, 32, 38, 48],
    "f": [[48], [48], [32, 40], [64, 16, 24]],
}


def a_task(kind: str, inputs: str = "tokens", length: int = 16) -> Any:
    from transcode.training.task import DataSplit, Task

    rng, size = np.random.default_rng(0), 24
    if inputs == "tokens":
        x = rng.integers(11, size=(size, length))
    else:
        x = rng.normal(size=(size, length, 3)).astype(np.float32)
    y = {
        "classification": lambda: rng.integers(5, size=size),
        "forecast": lambda: rng.normal(size=(size, 5)).astype(np.float32),
        "language": lambda: rng.integers(11, size=(size, length)),
    }[kind]()
    split = DataSplit(x, y)
    return Task(
        "toy",
        kind,
        inputs,
        length,
        11 if inputs == "tokens" else None,
        3 if inputs == "values" else None,
        11 if kind == "language" else 5,
        "points",
        split,
        split,
        split,
    )


def simulated_operations(model: Model, length: int, batch: int, mode: str) -> Operations:
    """Operations of a step, as the simulator lists them."""

    def numbers(value: float) -> np.ndarray:
        return np.array([float(value)])

    workload = Workload(
        mode=mode,
        precision="fp32",
        weights="same",
        kv_cache="same",
        kept=(),
        parts=(),
        optimizer="adamw",
        activations="store",
        attention="unfused",
        implementation="eager",
        trainable="all",
        sparsity="dense",
        optimizer_kernels="fused",
        residency="model",
        serving="phases",
        generates=False,
        chunked=False,
        batch=numbers(batch),
        sequence_length=numbers(length),
        target_length=numbers(length),
        generate=numbers(0),
        gradient_accumulation=numbers(1),
        metrics=numbers(0),
        predictions=numbers(length),
        prefill_chunk=numbers(0),
        tau_i=numbers(0),
        tau_t=numbers(0),
    )
    return operations(with_settings(model, {}, 1), workload)


def simulated(model: Model, length: int, batch: int, mode: str) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a step, as the simulator counts them."""
    ops = simulated_operations(model, length, batch, mode)
    rows = [r for r, row in enumerate(ops.rows) if row.matmul]
    macs = (ops.count * ops.batch * ops.m * ops.k * ops.n)[rows].sum()
    return int(ops.parameters[0]), int(macs)


def counted(module: Any, task: Any, batch: int, *, backward: bool) -> int:
    """Multiply-accumulates that PyTorch counts."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    x, y = (torch.from_numpy(a) for a in task.batch(0, size=batch))
    with FlopCounterMode(display=False) as counter:
        loss = task.loss(module(x), y)
        if backward:
            loss.backward()
    return int(counter.get_total_flops()) // 2


def model(name: str, settings: dict[str, object] | None = None) -> Model:
    from transcode.training.build import described

    return described(name, settings or SMALL)


@pytest.fixture
def heterogeneous(tmp_path: Any) -> Model:
    import json

    from transcode.training.build import described

    path = tmp_path / "model.json"
    path.write_text(json.dumps(HETEROGENEOUS))
    return described(str(path))


def cases() -> list[Any]:
    llama = {
        "model.layers": 2,
        "model.hidden": 32,
        "model.heads": 4,
        "model.kv_heads": 4,
        "model.head_size": 8,
        "model.feed_forward": 40,
    }
    grouped = llama | {"model.kv_heads": 2}
    return [
        pytest.param("encoder", SMALL, "classification", "tokens", id="encoder-tokens"),
        pytest.param("encoder", SMALL, "forecast", "values", id="encoder-values"),
        pytest.param("decoder", SMALL, "language", "tokens", id="decoder-language"),
        pytest.param("decoder", SMALL, "classification", "tokens", id="decoder-classes"),
        pytest.param("decoder", SMALL, "forecast", "values", id="decoder-values"),
        pytest.param("llama-2-7b", llama, "language", "tokens", id="llama"),
        pytest.param("mistral-7b", grouped, "language", "tokens", id="grouped-and-windowed"),
        pytest.param("vit-base", SMALL, "classification", "values", id="vit"),
        pytest.param("vit-base", SMALL, "classification", "tokens", id="vit-on-tokens"),
    ]


@pytest.mark.parametrize(("name", "settings", "kind", "inputs"), cases())
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_module_is_the_model_that_is_simulated(
    name: str, settings: dict[str, object], kind: str, inputs: str, mode: str
) -> None:
    from transcode.training.build import build, for_task

    described, task = model(name, settings), a_task(kind, inputs)
    module = build(described, task)
    fitted = for_task(described, task)
    parameters, macs = simulated(fitted, task.sequence_length, 3, mode)
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert counted(module, task, 3, backward=mode == "training") == macs


@pytest.mark.parametrize("kind", ["classification", "forecast"])
@pytest.mark.parametrize("mode", ["inference", "training"])
def test_a_heterogeneous_module_is_the_model_that_is_simulated(
    heterogeneous: Model, kind: str, mode: str
) -> None:
    from transcode.training.build import build, for_task

    task = a_task(kind, "tokens" if kind == "classification" else "values")
    module = build(heterogeneous, task)
    fitted = for_task(heterogeneous, task)
    parameters, macs = simulated(fitted, task.sequence_length, 3, mode)
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert counted(module, task, 3, backward=mode == "training") == macs


# ---- sites ----


def sites(module: Any) -> list[Any]:
    from transcode.dynaprop import Site

    return [part for part in module.modules() if isinstance(part, Site)]


def operations_of(described: Model, task: Any) -> set[str]:
    """Names of the simulator's forward operations."""
    from transcode.training.build import for_task

    ops = simulated_operations(for_task(described, task), task.sequence_length, 3, "inference")
    return {row.name for row in ops.rows}


def test_sites_stand_where_dynatran_prunes() -> None:
    from transcode.training.build import build

    task = a_task("classification")
    placed = [(site.operation, site.layer) for site in sites(build(model("encoder"), task))]
    each = [
        "query",
        "key, value",
        "key, value",
        "scores",
        "softmax",
        "context",
        "output",
        "feed-forward in",
        "feed-forward out",
    ]
    assert placed == [(name, layer) for layer in (1, 2) for name in each] + [("pooler", None)]


@pytest.mark.parametrize("kind", ["classification", "forecast"])
def test_sites_bear_the_names_of_the_simulators_operations(heterogeneous: Model, kind: str) -> None:
    from transcode.training.build import build

    task = a_task(kind, "tokens" if kind == "classification" else "values")
    placed = sites(build(heterogeneous, task))
    assert {site.operation for site in placed} <= operations_of(heterogeneous, task)
    assert {site.layer for site in placed} == {1, 2, 3, None}  # as the simulator's blocks
    layered = model(
        "llama-2-7b",
        {
            "model.layers": 1,
            "model.hidden": 8,
            "model.heads": 2,
            "model.kv_heads": 1,
            "model.head_size": 4,
            "model.feed_forward": 8,
        },
    )
    language = a_task("language")
    names = {site.operation for site in sites(build(layered, language))}
    assert "feed-forward gate" in names and names <= operations_of(layered, language)


def test_every_operand_of_attention_passes_a_site() -> None:
    """With every site closed, nothing but biases is left of the layers."""
    import torch

    from transcode.training.build import build

    task = a_task("classification")
    module = build(model("encoder"), task).eval()
    x = torch.from_numpy(task.test.x)
    seen: list[tuple[str, bool]] = []
    for site in sites(module):
        site.register_forward_hook(lambda s, _, y: seen.append((s.operation, bool(y.any()))))
    module(x)
    assert len(seen) == len(sites(module)) and all(there for _, there in seen)
    for site in sites(module):
        if site.operation == "query":
            site.register_forward_hook(lambda s, _, y: torch.zeros_like(y), prepend=True)
    seen.clear()
    module(x)
    assert dict(seen)["scores"] is False and dict(seen)["context"] is True


# ---- behaviour ----


@pytest.mark.parametrize("name", ["decoder", "llama-2-7b", "mistral-7b"])
def test_a_decoder_sees_no_future(name: str) -> None:
    import torch

    from transcode.training.build import build

    sizes = SMALL | ({} if name == "decoder" else {"model.kv_heads": 2, "model.head_size": 8})
    module = build(model(name, sizes), a_task("language")).eval()
    x = torch.randint(11, (2, 16))
    changed = x.clone()
    changed[:, 9:] = (x[:, 9:] + 1) % 11
    before, after = module(x), module(changed)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_a_window_forgets() -> None:
    import torch

    from transcode.training.heads import DotProducts

    head = DotProducts(4, None, past=3).eval()
    q, k, v = torch.randn(3, 1, 2, 8, 4)
    changed = v.clone()
    changed[:, :, 2] += 1.0
    moved = (head(q, k, v) != head(q, k, changed)).any(dim=(0, 1, 3))
    assert moved.tolist() == [False, False, True, True, True, False, False, False]


def test_rotary_positions_depend_on_distances_only() -> None:
    import torch

    from transcode.training.layers import rotate

    one = torch.randn(2, 1, 8).expand(2, 6, 8)
    q, k = rotate(one[0]), rotate(one[1])
    products = q @ k.T
    for offset in range(-5, 6):
        line = torch.diagonal(products, offset)
        assert torch.allclose(line, line[0].expand_as(line), atol=1e-5)


def test_relative_keys_by_hand() -> None:
    """Scores gain q_l . r_(l - r), Shaw et al. 2018, equation 5 (keys' side)."""
    import math

    import torch

    from transcode.training.heads import DotProducts

    head = DotProducts(4, None, positions=5).eval()
    q, k, v = torch.randn(3, 1, 1, 5, 4)
    output = head(q, k, v)[0, 0]
    for i in range(5):
        scores = torch.stack(
            [
                (q[0, 0, i] @ k[0, 0, j] + q[0, 0, i] @ head.table[i - j + 4]) / math.sqrt(4)
                for j in range(5)
            ]
        )
        assert torch.allclose(output[i], scores.softmax(0) @ v[0, 0], atol=1e-6)


def test_span_convolution_by_hand() -> None:
    import torch

    from transcode.training.heads import Convolution

    head = Convolution(2, 3, 5, None)
    q, k, v = torch.randn(3, 1, 2, 7, 3)
    output = head(q, k, v)
    h, place = 1, 2  # one head, one position, its whole span inside
    taps = (k[0, h, 0:5].T * head.depthwise[h]).sum(dim=1)
    keys = taps @ head.pointwise[h] + head.pointwise_bias[h, 0]
    kernel = ((keys * q[0, h, place]) @ head.generator[h] + head.generator_bias[h, 0]).softmax(0)
    values = v[0, h, 0:5] @ head.values[h] + head.values_bias[h, 0]
    assert torch.allclose(output[0, h, place], kernel @ values, atol=1e-6)


def test_a_module_follows_from_its_seed_and_leaves_the_global_stream_alone() -> None:
    import torch

    from transcode.training.build import build

    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    first, again, other = (
        build(model("encoder"), a_task("classification"), seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.randn(4), expected)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_every_parameter_learns(heterogeneous: Model) -> None:
    import torch

    from transcode.training.build import build

    task = a_task("forecast", "values")
    module = build(heterogeneous, task, dropout=0.0)
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    for x, y in task.batches(size=16, steps=60):
        loss = task.loss(module(torch.from_numpy(x)), torch.from_numpy(y))
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
    silent = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    # The table of a layer without a dot product is there to be counted.
    silent = [name for name in silent if not name.endswith("attention.table")]
    assert not silent
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_dropout_is_what_is_asked_for_and_none_where_the_model_has_none() -> None:
    from torch import nn

    from transcode.training.build import build

    def shares(name: str, dropout: float, settings: dict[str, object]) -> set[float]:
        module = build(model(name, settings), a_task("language"), dropout=dropout)
        return {part.p for part in module.modules() if isinstance(part, nn.Dropout)}

    small = SMALL | {"model.kv_heads": 4, "model.head_size": 8}
    assert shares("decoder", 0.25, SMALL) == {0.25}
    assert shares("llama-2-7b", 0.25, small) == {0.0}


@pytest.mark.parametrize("kind", ["classification", "forecast"])
def test_densities_of_a_heterogeneous_module_reach_the_simulator(tmp_path: Any, kind: str) -> None:
    """Every product behind which a site stands finds a measured density under its name."""
    import csv
    import json

    import torch

    import elector
    from elector.operations.sparsity import COLUMNS
    from transcode.dynaprop import DynaProp
    from transcode.training.build import build, described, for_task

    path = tmp_path / "model.json"
    path.write_text(json.dumps(HETEROGENEOUS))
    task = a_task(kind, "tokens" if kind == "classification" else "values")
    module = build(described(str(path)), task)
    pruner = DynaProp(module, 0.1, 1e-4, record=True)
    with pruner:
        for x, y in task.batches(size=8, steps=2):
            task.loss(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
            pruner.step()
    assert not pruner.idle
    rows = pruner.sparsity_rows(model="model", task="toy")
    ops = simulated_operations(for_task(described(str(path)), task), 16, 8, "training")
    products = {row.name for row in ops.rows if row.matmul}
    dense = ("projection", "patch projection", "classifier", "relative positions")
    missing = products - {str(row["operation"]) for row in rows}
    assert all(name.startswith(dense) for name in missing), missing
    table = tmp_path / "sparsity.csv"
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows({**row, "accuracy": ""} for row in rows)
    settings: dict[str, object] = {
        "workload.mode": "training",
        "workload.batch": 8,
        "workload.sequence_length": 16,
    }
    full = elector.simulate(str(path), "acceltran-edge", settings=settings)
    sparse = elector.simulate(
        str(path),
        "acceltran-edge",
        settings=settings
        | {"workload.sparsity": str(table), "workload.tau_i": 0.1, "workload.tau_t": 1e-4},
    )
    assert sparse["energy_j"] < full["energy_j"]


# ---- refusals ----


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("encoder", "language", "predicts the next token"),
        ("t5-base", "classification", "encoder-decoder"),
        ("gemm:tpu-mlp0", "classification", "family gemm"),
    ],
)
def test_pairs_that_are_refused(name: str, kind: str, message: str) -> None:
    from elector.describe.formats import load_model
    from transcode.training.build import build

    with pytest.raises(InputError, match=message):
        build(load_model(name), a_task(kind))


def test_a_kernel_longer_than_the_sequence_is_refused(heterogeneous: Model) -> None:
    from transcode.training.build import build

    with pytest.raises(InputError, match="convolution of 13 is longer than the 12 tokens"):
        build(heterogeneous, a_task("classification", length=12))


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_a_dropout_that_is_none_is_refused(dropout: float) -> None:
    from transcode.training.build import build

    with pytest.raises(InputError, match="dropout"):
        build(model("encoder"), a_task("classification"), dropout=dropout)


def test_settings_are_checked_as_the_simulator_checks_them() -> None:
    from transcode.training.build import described

    with pytest.raises(InputError, match="do not divide"):
        described("encoder", {"model.hidden": 30, "model.heads": 4})
    with pytest.raises(InputError, match="no setting of a model"):
        described("encoder", {"accelerator.rows": 4})
