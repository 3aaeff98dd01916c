"""DynaProp on whole models: ours, compiled ones, those of Hugging Face."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.extras("torch")
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import elector  # noqa: E402
from transcode.dynaprop import DynaProp, Schedule  # noqa: E402

FLEXIBLE = {
    "l": 2,
    "o": [["sa_sdp_32", "sa_wma_32"], ["l_dft_32", "c_5_32"]],
    "h": [64, 64],
    "f": [[128], [128, 64]],
}


def table(pruner: DynaProp, path: Path) -> Path:
    rows = pruner.sparsity_rows(model="ours", task="digits", seed=0, accuracy=0.9)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.extras("torch", "sklearn")
@pytest.mark.parametrize("which", ["bert-tiny", "flexible"])
def test_the_simulator_takes_what_training_measured(which: str, tmp_path: Path) -> None:
    from transcode.training.build import build, described
    from transcode.training.tasks import load_task

    name = which
    if which == "flexible":
        path = tmp_path / "model.json"
        path.write_text(json.dumps(FLEXIBLE))
        name = str(path)
    task = load_task("digits", seed=0)
    module = build(described(name, {}), task, dropout=0.0, seed=0)
    pruner = DynaProp(module, 0.1, 1e-5, record=True)
    with pruner:
        for step in range(2):
            x, y = map(torch.as_tensor, task.batch(step, size=8, seed=0))
            task.loss(module(x), y).backward()
            pruner.step()
    assert pruner.idle == []
    rows = {(r.phase, r.operation, r.layer, r.operand): r.density for r in pruner.records()}
    # What the output projection reads is the context, what attention reads are q, k and v.
    if which == "bert-tiny":
        assert (
            rows["forward", "output", 1, "activation"] == (rows["forward", "context", 1, "output"])
        )
        assert (
            rows["backward", "key gradient", 1, "activation"]
            == (rows["forward", "query", 1, "output"])
        )
        assert (
            rows["backward", "value gradient", 1, "activation"]
            == (rows["forward", "softmax", 1, "output"])
        )
        assert (
            rows["backward", "value gradient", 1, "gradient"]
            == (rows["backward", "probabilities gradient", 1, "gradient"])
            < 1
        )
    settings = {"workload.mode": "training", "workload.tau_i": 0.1, "workload.tau_t": 1e-5}
    file = str(table(pruner, tmp_path / "sparsity.csv"))
    sparse = elector.simulate(
        name, "acceltran-edge", settings=settings | {"workload.sparsity": file}
    )
    dense = elector.simulate(name, "acceltran-edge", settings={"workload.mode": "training"})
    assert sparse["energy_j"] < dense["energy_j"]
    assert sparse["memory_bytes"]["activations"] < dense["memory_bytes"]["activations"]


class Net(nn.Module):
    """Two layers with a norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(32, 64), nn.LayerNorm(64), nn.Linear(64, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.relu(self.norm(self.a(x))))


def steps(module: nn.Module, call: nn.Module, pruner: DynaProp) -> list[torch.Tensor]:
    x = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    with pruner:
        for _ in range(3):
            module.zero_grad()
            call(x).square().mean().backward()
            pruner.step()
    return [p.grad.clone() for p in module.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
@pytest.mark.parametrize("record", [False, True])
def test_compiled_code_finds_the_same(backend: str, record: bool) -> None:
    import torch._dynamo as dynamo

    if backend == "inductor" and " " in torch.__file__:
        pytest.skip("inductor hands paths with blanks to the linker as they are")
    dynamo.reset()
    dynamo.utils.counters.clear()
    torch.manual_seed(0)
    module = Net()
    options = {"tau_i": 0.2, "tau_t": 1e-5, "record": record}
    plain = steps(module, module, DynaProp(module, **options))
    pruner = DynaProp(module, **options)
    compiled = torch.compile(module, backend=backend)
    compiled_steps = steps(module, compiled, pruner)
    for a, b in zip(plain, compiled_steps, strict=True):
        torch.testing.assert_close(a, b)
        assert torch.equal(a == 0, b == 0)
    breaks = sum(dynamo.utils.counters["graph_break"].values())
    assert (breaks > 0) == record
    x = torch.randn(64, 32)
    torch.testing.assert_close(compiled(x), module(x))  # outside: nothing is pruned
    with pruner:
        torch.testing.assert_close(compiled(x), module(x))
    pruner.detach()
    torch.testing.assert_close(compiled(x), module(x))


@pytest.mark.slow
def test_what_was_compiled_before_is_pruned_too() -> None:
    module = Net()
    compiled = torch.compile(module, backend="aot_eager")
    x = torch.randn(64, 32)
    dense = compiled(x)
    with DynaProp(module, Schedule.ramp(0.4, 1, start=0.4)):
        assert torch.equal(compiled(x), module(x)) and not torch.equal(compiled(x), dense)


@pytest.mark.extras("torch", "transformers")
@pytest.mark.slow
def test_bert_of_hugging_face() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
    )
    module = BertForSequenceClassification(config).train()
    tokens = torch.randint(0, 64, (8, 32))
    labels = torch.randint(0, 2, (8,))
    pruner = DynaProp(
        module, 0.05, 1e-6, record=True, patterns=["*.query", "*.key", "*.value", "*.dense"]
    )
    with pruner:
        module(tokens, labels=labels).loss.backward()
        pruner.step()
    assert pruner.idle == []
    assert {(r.operation, r.layer) for r in pruner.records() if r.operand == "output"} >= {
        (operation, layer)
        for layer in (1, 2)
        for operation in ("query", "key, value", "output", "feed-forward in", "feed-forward out")
    }
    assert pruner.peak_saved_bytes < pruner.dense_peak_saved_bytes
