"""Saved tensors: compressed, kept once, counted; gradients as they would be without."""

from __future__ import annotations

import gc

import pytest

pytestmark = pytest.mark.extras("torch")
torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from transcode.dynaprop import DynaProp  # noqa: E402
from transcode.dynaprop.packing import compress, decompress, pack_mask, unpack_mask  # noqa: E402


def sparse(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.hardshrink(x, 1.0).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(1,), (7,), (3, 5, 11), (1, 40000), (70001,)])
def test_comes_back_bit_for_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = sparse(*shape, dtype=dtype)
    packed = compress(x)
    assert torch.equal(decompress(packed), x) and decompress(packed).dtype == dtype
    assert packed.nbytes == (x != 0).sum() * x.element_size() + (x.numel() + 7) // 8 or (
        int((x != 0).sum()) == 1
    )


def test_order_in_memory_comes_back() -> None:
    x = sparse(4, 6, 8).permute(2, 0, 1)
    restored = decompress(compress(x))
    assert torch.equal(restored, x) and restored.stride() == x.stride()
    gaps = sparse(8, 8)[:, ::2]
    assert torch.equal(decompress(compress(gaps)), gaps)


def test_nan_and_signs_come_back() -> None:
    x = torch.tensor([0.0, float("nan"), -1.5, float("inf"), 0.0, -0.0])
    restored = decompress(compress(x))
    assert torch.equal(restored.view(torch.int32), x.view(torch.int32))


def test_all_zero_and_one_value() -> None:
    zeros = torch.zeros(5000)
    assert torch.equal(decompress(compress(zeros)), zeros)
    noise = (torch.rand(5000) > 0.1) / 0.9
    packed = compress(noise)
    assert torch.equal(decompress(packed), noise) and packed.nbytes == 625 + 4
    almost = noise.clone()
    almost[-1] = 0.5
    assert torch.equal(decompress(compress(almost)), almost)


@pytest.mark.parametrize("n", [1, 8, 13])
def test_masks(n: int) -> None:
    mask = torch.arange(n) % 3 == 0
    assert torch.equal(unpack_mask(pack_mask(mask), n), mask)
    assert torch.equal(decompress(compress(mask)), mask)


class Twice(nn.Module):
    """Saves one activation twice, and a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 256)
        self.left, self.right = nn.Linear(256, 64), nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.left(h) + self.right(h)


def test_bytes_are_those_of_values_and_masks() -> None:
    module, x = Twice(), torch.randn(128, 32)
    with DynaProp(module, 0.3, patterns=["first"]) as pruner:
        loss = module(x).sum()
        h = module.first(x)
        kept, n = int((h != 0).sum()), h.numel()
        h = None
        # x; the values of h and its mask, once for both; the mask that the pruning itself keeps.
        assert pruner.saved_bytes == x.nbytes + 4 * kept + n // 8 + n // 8
        loss.backward()
        del loss
        gc.collect()
        assert pruner.saved_bytes == 0
        assert pruner.peak_saved_bytes < pruner.dense_peak_saved_bytes


def test_parameters_are_not_counted_and_dense_stays() -> None:
    module, x = Twice(), torch.randn(128, 32)
    with DynaProp(module) as pruner:
        loss = module(x).sum()
        assert pruner.saved_bytes == x.nbytes + 128 * 256 * 4
    loss.backward()


@pytest.mark.parametrize("checkpointed", [False, True])
def test_memory_falls_and_gradients_stay(checkpointed: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    module = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.GELU()) for _ in range(4)))
    x = torch.randn(512, 64)

    def run(**options: object) -> tuple[list[torch.Tensor], DynaProp]:
        module.zero_grad()
        with DynaProp(module, 0.3, 1e-6, record=True, **options) as pruner:
            y = x
            for layer in module:
                y = checkpoint(layer, y, use_reentrant=False) if checkpointed else layer(y)
            y.square().mean().backward()
            pruner.step()
        return [p.grad.clone() for p in module.parameters()], pruner

    plain, dense = run(compress=False)
    compressed, pruner = run()
    assert all(torch.equal(a, b) for a, b in zip(plain, compressed, strict=True))
    # The forward pass that is done again is not recorded again.
    assert len(pruner.records()) == len(dense.records()) == 4 * 5
    if not checkpointed:
        assert pruner.peak_saved_bytes < 0.75 * dense.peak_saved_bytes


def test_checkpointing_finds_the_same_gradients() -> None:
    from torch.utils.checkpoint import checkpoint

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))
    x = torch.randn(256, 64)
    gradients = []
    for again in (False, True):
        module.zero_grad()
        with DynaProp(module, 0.2, 1e-5):
            y = checkpoint(module, x, use_reentrant=False) if again else module(x)
            y.square().mean().backward()
        gradients.append([p.grad.clone() for p in module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_changes_in_place_are_noticed() -> None:
    """A tensor that is saved, changed and saved again is two tensors."""
    layer = nn.Linear(64, 64)

    def run() -> torch.Tensor:
        layer.zero_grad()
        y = layer(torch.ones(32, 64)).exp().relu() - 1.2
        y = torch.nn.functional.relu(y)
        z = y.clone()
        a = z.sigmoid().mul(2)
        z.add_(y)
        (z.square() + a).sum().backward()
        return layer.weight.grad.clone()

    plain = run()
    with DynaProp(layer, patterns=["linear"]):
        assert torch.equal(run(), plain)


def test_autocast_keeps_the_pattern() -> None:
    module = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 8))
    x = torch.randn(256, 64)
    with DynaProp(module, 0.25, 1e-6, record=True) as pruner:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = module(x)
            loss = y.float().square().mean()
        loss.backward()
        pruner.step()
    assert y.dtype == torch.bfloat16 and ((y == 0) | (y.abs() > 0.25)).all()
    assert all(torch.isfinite(p.grad).all() for p in module.parameters())
    assert pruner.peak_saved_bytes < pruner.dense_peak_saved_bytes
    density = next(r.density for r in pruner.records() if r.operand == "output")
    assert 0.2 < density < 0.95
