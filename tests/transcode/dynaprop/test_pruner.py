"""DynaProp on plain modules: values, gradients, thresholds, records, checkpoints."""

from __future__ import annotations

import copy
import math
import subprocess
import sys

import pytest

pytestmark = pytest.mark.extras("torch")
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from elector.base.errors import InputError  # noqa: E402
from transcode.dynaprop import (  # noqa: E402
    DynaProp,
    Schedule,
    Site,
    TargetDensity,
    TargetMissed,
    TopK,
)


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(16, 64), nn.GELU(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, 4)
    )


def inputs(rows: int = 64) -> torch.Tensor:
    return torch.randn(rows, 16, generator=torch.Generator().manual_seed(1))


def gradients(module: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    module.zero_grad()
    module(x).square().mean().backward()
    return [p.grad.clone() for p in module.parameters()]


def test_nothing_pruned_is_nothing_changed() -> None:
    module, x = network(), inputs()
    dense = gradients(module, x)
    with DynaProp(module):
        actual = gradients(module, x)
    assert all(torch.equal(a, b) for a, b in zip(dense, actual, strict=True))


@pytest.mark.parametrize("record", [False, True])
def test_gradcheck_where_nothing_is_pruned(record: bool) -> None:
    module = network().double()
    x = inputs(4).double().requires_grad_()
    # A target density of 1 goes through the pruning function with a threshold of zero.
    with DynaProp(module, TargetDensity(1.0), TargetDensity(1.0), record=record):
        assert torch.autograd.gradcheck(module, (x,))


def test_gradcheck_where_activations_are_pruned() -> None:
    """Away from the threshold the pruned function has exact derivatives."""
    module = nn.Sequential(nn.Linear(6, 8), Site("a"), nn.Tanh(), nn.Linear(8, 2)).double()
    x = inputs(8)[:, :6].double().requires_grad_()
    with torch.no_grad():
        assert ((module[0](x).abs() - 0.3).abs() > 1e-4).all()
    with DynaProp(module, tau_i=0.3):
        assert torch.autograd.gradcheck(module, (x,), eps=1e-7)


def test_zeros_are_where_they_belong() -> None:
    """Both passes against the rule written out with plain tensors."""
    tau_i, tau_t = 0.2, 2e-4
    module, x = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 4)), inputs()
    with DynaProp(module, tau_i, tau_t):
        actual = gradients(module, x)
    with torch.no_grad():
        first, last = module[0], module[2]
        a = first(x)
        kept = a.abs() > tau_i
        t = torch.tanh(a * kept)
        y = last(t)
        out = y.abs() > tau_i
        g2 = 2 * y * out / y.numel() * out
        g2 = g2 * (g2.abs() > tau_t)
        g1 = (g2 @ last.weight) * (1 - t**2) * kept
        g1 = g1 * (g1.abs() > tau_t)
        expected = [g1.T @ x, g1.sum(0), g2.T @ t, g2.sum(0)]
    assert 0 < kept.float().mean() < 1 and 0 < (g1 != 0).float().mean() < kept.float().mean()
    for e, f in zip(expected, actual, strict=True):
        torch.testing.assert_close(e, f)


def test_nan_is_not_hidden() -> None:
    module, x = network(), inputs()
    x[0, 0] = math.nan
    with DynaProp(module, 0.5, 0.1):
        assert module(x)[0].isnan().all()


@pytest.mark.parametrize("tau", [-0.1, math.nan, math.inf, "much", True])
def test_thresholds_that_are_none(tau: object) -> None:
    for name in ("tau_i", "tau_t"):
        with pytest.raises(InputError, match=name):
            DynaProp(network(), **{name: tau})
    with pytest.raises(InputError):
        Schedule(((0, tau),))


def test_top_k_keeps_the_largest_of_each_row() -> None:
    """Against a sort of each row, written out."""
    x = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(3)).requires_grad_()
    with DynaProp(nn.ModuleList([site := Site("query", 1)]), TopK(0.4), TopK(0.25)):
        y = site(x)
        weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(4))
        (y * weights).sum().backward()
    for row, pruned, weight, gradient in zip(
        x.detach().reshape(-1, 9),
        y.detach().reshape(-1, 9),
        weights.reshape(-1, 9),
        x.grad.reshape(-1, 9),
        strict=True,
    ):
        stays = sorted(range(9), key=lambda i: -abs(float(row[i])))[:4]  # ceil(.4 x 9)
        assert [i for i in range(9) if pruned[i] != 0] == sorted(stays)
        assert all(pruned[i] == row[i] for i in stays)
        left = {i: float(weight[i]) if i in stays else 0.0 for i in range(9)}
        kept = sorted(left, key=lambda i: -abs(left[i]))[:3]  # ceil(.25 x 9) of the gradient
        assert gradient.tolist() == [left[i] if i in kept else 0.0 for i in range(9)]


@pytest.mark.parametrize("record", [False, True])
def test_gradcheck_of_top_k(record: bool) -> None:
    """Its derivative is 1 where an element stays and 0 elsewhere, also beside zeros."""
    module = network().double()
    x = inputs(4).double().requires_grad_()
    with DynaProp(module, TopK(0.3), record=record):
        assert torch.autograd.gradcheck(module, (x,))
    few = torch.tensor([[0.0, 3.0, 0.0, 0.0], [1.0, -2.0, 0.5, 4.0]], dtype=torch.double)
    with DynaProp(nn.ModuleList([site := Site("query", 1)]), TopK(0.5)):
        (gradient,) = torch.autograd.grad(site(few.requires_grad_()).sum(), few)
    # of a row with one number any other would be among the largest two if it changed at all
    assert gradient.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]]


def test_top_k_where_nothing_or_everything_is_alike() -> None:
    x = torch.tensor([[1.0, -1.0, 1.0, 0.2], [math.nan, 5.0, 1.0, 2.0]])
    with DynaProp(nn.ModuleList([site := Site("query", 1)]), TopK(0.25)):
        equal, broken = site(x).tolist()
    assert equal == [1.0, -1.0, 1.0, 0.0]  # equals stay together
    assert math.isnan(broken[0])  # and NaN is not hidden
    module, x = network(), inputs()
    dense = gradients(module, x)
    with DynaProp(module, TopK(1.0), TopK(1.0)):
        assert all(torch.equal(a, b) for a, b in zip(dense, gradients(module, x), strict=True))


def test_top_k_does_not_follow_the_scale_of_gradients() -> None:
    runs = []
    for scale in (1.0, 1024.0):
        module, x = network(), inputs()
        with DynaProp(module, 0.0, TopK(0.5), prune_parameter_gradients=True) as pruner:
            pruner.gradient_scale = scale
            (module(x).square().mean() * scale).backward()
            pruner.step()
        runs.append([p.grad / scale for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    assert all((g.count_nonzero(-1) <= -(-g.shape[-1] // 2)).all() for g in runs[0])


def test_top_k_is_recorded_as_any_threshold() -> None:
    """Its densities are rows of the sparsity table; no threshold is said to have made them."""
    module, x = network(), inputs()
    with DynaProp(module, TopK(0.25), TopK(0.5), record=True) as pruner:
        gradients(module, x)
        pruner.step()
    outputs = [r for r in pruner.records() if r.operand == "output"]
    assert outputs and all(abs(r.density - 0.25) < 1e-9 for r in outputs)
    rows = pruner.sparsity_rows(model="m", task="t")
    assert all(row["tau_i"] is None and row["tau_t"] is None for row in rows)


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.1, math.nan, "half", True])
def test_shares_that_are_none(keep: object) -> None:
    with pytest.raises(InputError, match="top-k keep"):
        TopK(keep)  # type: ignore[arg-type]


def test_patterns() -> None:
    module = nn.ModuleDict({"encoder": network(), "head": nn.Linear(4, 2)})
    assert [p.name for p in DynaProp(module).places] == [
        "encoder.0",
        "encoder.2",
        "encoder.4",
        "head",
    ]
    places = DynaProp(module, patterns=["encoder.?", "head"]).places
    assert [p.name for p in places] == [*(f"encoder.{i}" for i in range(5)), "head"]
    with pytest.raises(InputError, match="nearest names: encoder"):
        DynaProp(module, patterns=["encodr.*"])
    with pytest.raises(InputError, match="no module to prune"):
        DynaProp(nn.Sequential(nn.Tanh()))
    with pytest.raises(InputError, match="list of patterns"):
        DynaProp(module, patterns="head")


def test_leaves_no_hook_behind_and_nests() -> None:
    module, x = network(), inputs()
    dense = module(x)
    pruner = DynaProp(module, 0.3)
    with pruner:
        with pruner:
            pruned = module(x)
        assert torch.equal(module(x), pruned)
        assert torch.equal(copy.deepcopy(module)(x), dense)
    assert torch.equal(module(x), dense) and not torch.equal(pruned, dense)
    assert not any(part._forward_hooks for part in module.modules())


def test_schedule() -> None:
    ramp = Schedule.ramp(0.4, 4, begin=2)
    assert [ramp.at(step) for step in (0, 2, 4, 6, 9)] == [0.0, 0.0, 0.2, 0.4, 0.4]
    pruner = DynaProp(network(), ramp)
    seen = []
    for _ in range(7):
        seen.append(pruner.tau_i)
        pruner.step()
    assert seen == pytest.approx([0, 0, 0, 0.1, 0.2, 0.3, 0.4])
    with pytest.raises(InputError, match="rise"):
        Schedule(((3, 0.1), (3, 0.2)))


def test_target_density_is_held() -> None:
    module = network()
    pruner = DynaProp(module, TargetDensity(0.5), TargetDensity(0.25), record=True)
    with pruner:
        for step in range(30):
            gradients(module, torch.randn(256, 16) * (1 + step / 30))
            pruner.step()
    assert pruner.missed() == []
    late = [r for r in pruner.records() if r.step >= 20]
    for operand, wanted in (("output", 0.5), ("gradient", 0.25)):
        densities = [r.density for r in late if r.operand == operand]
        assert densities and all(abs(density - wanted) < 0.1 for density in densities)


def test_a_target_that_cannot_be_reached_is_told() -> None:
    module = nn.Sequential(nn.Linear(16, 64), nn.ReLU())
    x = inputs()
    with DynaProp(module, TargetDensity(0.9, patience=5), patterns=["1"]) as pruner:
        for _ in range(4):
            gradients(module, x)
            pruner.step()
        with pytest.raises(TargetMissed, match=r"step 5: target density 0\.9 of the output"):
            gradients(module, x)
            pruner.step()
    (missed,) = pruner.missed()
    assert missed.achieved == pytest.approx(float((module(x) > 0).float().mean()), abs=0.01)
    lenient = TargetDensity(0.9, patience=1, strict=False)
    with DynaProp(module, lenient, patterns=["1"]) as pruner:
        gradients(module, x)
        pruner.step()
        assert len(pruner.missed()) == 1


def test_parameter_gradients_too() -> None:
    module, x = network(), inputs()
    with DynaProp(module, 0.0, 1e-3, prune_parameter_gradients=True) as pruner:
        gradients(module, x)
        pruner.step()
    kept = torch.cat([p.grad.flatten() for p in module.parameters()])
    assert 0 < (kept != 0).float().mean() < 1
    assert kept[kept != 0].abs().min() > 1e-3


def test_gradient_scale_moves_the_threshold() -> None:
    module, x = network(), inputs()
    with DynaProp(module, 0.0, 1e-4) as pruner:
        plain = gradients(module, x)
        pruner.gradient_scale = 1024.0
        module.zero_grad()
        (module(x).square().mean() * 1024.0).backward()
    for a, p in zip(plain, module.parameters(), strict=True):
        torch.testing.assert_close(a * 1024.0, p.grad)


def test_records_count_what_is_there() -> None:
    module, x = network(), inputs()
    with DynaProp(module, 0.2, 1e-4, record=True) as pruner:
        gradients(module, x)
        pruner.step()
        pruned = module[0](x)
        with torch.no_grad():
            module(x)  # evaluation is not recorded
    first = {(r.operation, r.operand): r.density for r in pruner.records() if r.operation[0] == "0"}
    assert first["0", "output"] == float((pruned != 0).float().mean())
    assert first["0", "activation"] == 1.0
    assert 0 < first["0 weight gradient", "gradient"] < 1
    assert {r.step for r in pruner.records()} == {0}


def test_recording_every_second_step() -> None:
    module, x = network(), inputs()
    with DynaProp(module, 0.2, record=2) as pruner:
        for _ in range(5):
            gradients(module, x)
            pruner.step()
    assert sorted({r.step for r in pruner.records()}) == [0, 2, 4]


def test_goes_on_from_a_checkpoint() -> None:
    def run(pruner: DynaProp, module: nn.Module, steps: range) -> None:
        with pruner:
            for step in steps:
                gradients(module, inputs() * (1 + step))
                pruner.step()

    def fresh() -> tuple[nn.Module, DynaProp]:
        module = network()
        return module, DynaProp(module, TargetDensity(0.4), Schedule.ramp(1e-3, 6), record=True)

    module, whole = fresh()
    run(whole, module, range(6))
    module, before = fresh()
    run(before, module, range(3))
    module, after = fresh()
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    run(after, module, range(3, 6))
    assert after.records() == whole.records()
    assert after.state_dict() == whole.state_dict()
    with pytest.raises(InputError, match="other modules"):
        DynaProp(module, patterns=["0"]).load_state_dict(before.state_dict())


def test_nothing_recorded_makes_no_table() -> None:
    with pytest.raises(InputError, match="nothing was recorded"):
        DynaProp(network()).sparsity_rows(model="m", task="t")


def test_without_pytorch_one_line_names_the_extra() -> None:
    hidden = (
        "from importlib.machinery import PathFinder as P\n"
        "real = P.find_spec\n"
        "P.find_spec = lambda name, *rest: None if name == 'torch' else real(name, *rest)\n"
        "import transcode.dynaprop\n"
    )
    done = subprocess.run([sys.executable, "-c", hidden], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("needs PyTorch: pip install -e '.[train]'")
