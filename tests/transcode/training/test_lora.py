"""Low-rank pairs on named projections."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.extras("torch")

import torch  # noqa: E402
from torch import nn  # noqa: E402

from elector.base.errors import InputError  # noqa: E402
from transcode.training.lora import LowRank, adapt, trainable_share  # noqa: E402


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(*(nn.Linear(8, 8) for _ in range(3)))
    return nn.ModuleDict({"layers": layers, "head": nn.Linear(8, 2)})


def test_a_fresh_pair_changes_nothing_and_training_moves_only_the_pair() -> None:
    base = nn.Linear(6, 4)
    pair = LowRank(base, 2, 8.0, 0.0, torch.Generator().manual_seed(0))
    x = torch.randn(5, 6)
    assert torch.equal(pair(x), base(x))
    with torch.no_grad():
        pair.up.weight.fill_(0.5)
    expected = base(x) + 8.0 / 2 * (x @ pair.down.weight.T) @ pair.up.weight.T
    assert torch.allclose(pair(x), expected, atol=1e-6)


def test_adapt_freezes_the_layers_and_leaves_the_head() -> None:
    adapted = adapt(model(), r"layers\.[02]", r"layers\.", seed=1, rank=2)
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained == {
        "head.weight",
        "head.bias",
        "layers.0.down.weight",
        "layers.0.up.weight",
        "layers.2.down.weight",
        "layers.2.up.weight",
    }
    pairs, head, frozen = 2 * 2 * (8 + 8), 18, 3 * 72
    assert trainable_share(adapted) == pytest.approx((pairs + head) / (pairs + head + frozen))


def test_pairs_follow_from_the_seed() -> None:
    def first(seed: int) -> torch.Tensor:
        adapted = adapt(model(), r"layers\.0", "layers", seed, rank=2)
        return adapted.get_submodule("layers.0.down").weight

    assert torch.equal(first(3), first(3)) and not torch.equal(first(3), first(4))


def test_what_cannot_be_adapted_is_refused() -> None:
    with pytest.raises(InputError, match="matches no projection"):
        adapt(model(), "nothing", "layers", 0)
    with pytest.raises(InputError, match="rank"):
        adapt(model(), r"layers\.0", "layers", 0, rank=9)
