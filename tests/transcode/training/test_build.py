"""What is trained is what is simulated: parameters and products of the modules we build."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from elector.errors import InputError
from elector.model import Model, with_settings
from elector.operations import build as operations
from elector.workload import Workload

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
    from transcode.training.task import Split, Task

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
    split = Split(x, y)
    return Task(
        "toy", kind, inputs, length, 11 if inputs == "tokens" else None,
        3 if inputs == "values" else None, 11 if kind == "language" else 5, "points",
        split, split, split,
    )


def simulated(model: Model, length: int, batch: int, mode: str) -> tuple[int, int]:
    """Parameters and multiply-accumulates of a step, as the simulator counts them."""

    def numbers(value: float) -> np.ndarray:
        return np.array([float(value)])

    workload = Workload(
        mode=mode, precision="fp32", optimizer="adamw", activations="store",
        attention="unfused", implementation="eager", trainable="all", sparsity="dense",
        optimizer_kernels="fused", generates=False, batch=numbers(batch),
        sequence_length=numbers(length), target_length=numbers(length), generate=numbers(0),
        gradient_accumulation=numbers(1), predictions=numbers(length), tau_i=numbers(0),
        tau_t=numbers(0),
    )
    ops = operations(with_settings(model, {}, 1), workload)
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
    llama = {"model.layers": 2, "model.hidden": 32, "model.heads": 4, "model.kv_heads": 4,
             "model.head_size": 8, "model.feed_forward": 40}
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


def test_refusals() -> None:
    with pytest.raises(InputError, match="next token"):
        from transcode.training.build import build

        build(model("encoder"), a_task("language"))
