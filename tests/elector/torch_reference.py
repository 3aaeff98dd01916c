"""Transformers in PyTorch, written from our descriptions, for its saved-tensor hooks.

Each module computes what its row says it does: norms and gated activations in one function
that keeps its input, dropout keeps a mask of one byte an element (PyTorch on a CPU keeps it
in the format of the activations), rotary positions keep nothing but constants.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function

from elector.describe.model import Model

DTYPE = torch.bfloat16


class Drop(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        mask = torch.rand(x.shape) > 0.1
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        (mask,) = ctx.saved_tensors
        return dy * mask


class Rms(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, w = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            y = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * w
        dx, dw = torch.autograd.grad(y, (x, w), dy)
        return dx, dw


class Gated(Function):
    @staticmethod
    def forward(ctx: Any, up: Tensor, gate: Tensor) -> Tensor:
        ctx.save_for_backward(up, gate)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        up, gate = (t.detach().requires_grad_() for t in ctx.saved_tensors)
        with torch.enable_grad():
            y = F.silu(gate) * up
        du, dg = torch.autograd.grad(y, (up, gate), dy)
        return du, dg


class Rotate(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.cat((-x[..., x.shape[-1] // 2 :], x[..., : x.shape[-1] // 2]), -1)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:  # type: ignore[override]
        return torch.cat((dy[..., dy.shape[-1] // 2 :], -dy[..., : dy.shape[-1] // 2]), -1)


class Norm(nn.Module):
    def __init__(self, model: Model, width: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(width, dtype=DTYPE))
        self.b = nn.Parameter(torch.zeros(width, dtype=DTYPE)) if model.norm == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        if self.b is None:
            return Rms.apply(x, self.w)
        return F.layer_norm(x, x.shape[-1:], self.w, self.b)


def linear(i: int, o: int, bias: bool) -> nn.Linear:
    return nn.Linear(i, o, bias=bias, dtype=DTYPE)


class Projection(nn.Module):
    """A projection, perhaps with a low-rank pair beside it (Hu et al. 2021)."""

    def __init__(self, i: int, o: int, bias: bool, rank: int) -> None:
        super().__init__()
        self.base = linear(i, o, bias)
        self.low_rank = (
            nn.Sequential(linear(i, rank, False), linear(rank, o, False)) if rank else None
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) if self.low_rank is None else self.base(x) + self.low_rank(x)


class Attention(nn.Module):
    def __init__(self, model: Model, index: int, rank: int, flash: bool, cross: bool) -> None:
        super().__init__()
        b = model.blocks[index]
        self.e, self.heads, self.kv = b.head_size, b.heads, b.kv_heads
        wide, narrow = b.heads * b.head_size, b.kv_heads * b.head_size
        self.q = Projection(b.hidden, wide, model.attention_bias, rank)
        self.k = Projection(b.hidden, narrow, model.attention_bias, 0)
        self.v = Projection(b.hidden, narrow, model.attention_bias, rank)
        self.o = linear(wide, b.hidden, model.output_bias)
        self.causal, self.flash = b.causal and not cross, flash
        self.rotary, self.dropout = model.position_kind == "rotary", model.dropout

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        n, length, _ = x.shape
        q, k, v = self.q(x), self.k(memory), self.v(memory)
        if self.rotary:
            q, k = Rotate.apply(q), Rotate.apply(k)
        group = self.heads // self.kv
        q = q.view(n, length, self.kv, group, self.e).permute(0, 2, 3, 1, 4)
        q = q.reshape(n, self.kv, group * length, self.e)
        k, v = (t.view(n, -1, self.kv, self.e).transpose(1, 2) for t in (k, v))
        if self.flash:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-1, -2) / self.e**0.5
            if self.causal:
                mask = torch.full((length, length), -1e4, dtype=DTYPE).triu(1)
                scores = scores + mask.repeat(group, 1)
            p = scores.softmax(-1)
            mixed = (Drop.apply(p) if self.dropout else p) @ v
        mixed = mixed.view(n, self.kv, group, length, self.e).permute(0, 3, 1, 2, 4)
        return self.o(mixed.reshape(n, length, -1))


class FeedForward(nn.Module):
    def __init__(self, model: Model, index: int) -> None:
        super().__init__()
        b, bias = model.blocks[index], model.feed_forward_bias
        (f,) = b.feed_forward
        self.up, self.down = linear(b.hidden, f, bias), linear(f, b.hidden, bias)
        self.gate = linear(b.hidden, f, bias) if model.gated else None
        self.activation = model.activation

    def forward(self, x: Tensor) -> Tensor:
        if self.gate is not None:
            return self.down(Gated.apply(self.up(x), self.gate(x)))
        return self.down(getattr(F, self.activation)(self.up(x)))


class Sublayer(nn.Module):
    def __init__(self, model: Model, width: int, inside: nn.Module) -> None:
        super().__init__()
        self.norm, self.inside = Norm(model, width), inside
        self.before, self.dropout = model.pre_norm, model.dropout

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        y = self.norm(x) if self.before else x
        if isinstance(self.inside, Attention):
            y = self.inside(y, y if memory is None else memory)
        else:
            y = self.inside(y)
        y = (Drop.apply(y) if self.dropout else y) + x
        return y if self.before else self.norm(y)


class Layer(nn.Module):
    def __init__(self, model: Model, index: int, rank: int, flash: bool) -> None:
        super().__init__()
        b = model.blocks[index]
        self.own = Sublayer(model, b.hidden, Attention(model, index, rank, flash, False))
        self.cross = None
        if b.cross_attention:
            self.cross = Sublayer(model, b.hidden, Attention(model, index, rank, flash, True))
        self.feed_forward = Sublayer(model, b.hidden, FeedForward(model, index))

    def forward(self, x: Tensor, memory: Tensor | None) -> Tensor:
        x = self.own(x)
        if self.cross is not None:
            x = self.cross(x, memory)
        return self.feed_forward(x)


class Head(nn.Module):
    """What stands on top, and the loss; `predictions` positions of each sequence."""

    def __init__(
        self, model: Model, width: int, predictions: int, table: nn.Parameter | None
    ) -> None:
        super().__init__()
        self.kind, self.predictions, self.table = model.head, predictions, table
        kind, lm = model.head, model.head == "masked-lm"
        dense = kind == "pooler" or lm or (kind == "classifier" and model.head_dense)
        self.dense = linear(width, width, True) if dense else None
        self.norm = Norm(model, width) if lm else None
        self.bias = nn.Parameter(torch.zeros(model.vocabulary, dtype=DTYPE)) if lm else None
        outputs = {"classifier": model.labels, "question-answering": 2}.get(kind, model.vocabulary)
        own = kind not in ("none", "pooler") and not (kind.endswith("lm") and model.tied_embeddings)
        with_bias = model.family != "decoder" and not kind.endswith("lm")
        self.out = linear(width, outputs, with_bias) if own else None
        self.activation = model.activation

    def forward(self, x: Tensor) -> Tensor:
        if self.kind in ("pooler", "classifier"):
            x = x.index_select(1, torch.zeros(1, dtype=torch.long)).squeeze(1)
        if self.kind == "masked-lm":
            x = x.index_select(1, torch.arange(self.predictions))
            assert self.dense is not None and self.norm is not None
            x = self.norm(getattr(F, self.activation)(self.dense(x)))
        elif self.dense is not None:
            x = torch.tanh(self.dense(x))
        if self.kind in ("none", "pooler"):
            return x
        if self.out is not None:
            x = self.out(x)
        else:
            assert self.table is not None
            x = F.linear(x, self.table)
        if self.bias is not None:
            x = x + self.bias
        x = x.flatten(0, -2)
        return F.cross_entropy(x, torch.zeros(x.shape[0], dtype=torch.long))


class Transformer(nn.Module):
    """A whole model. trainable : all | heads | lora:R."""

    def __init__(self, model: Model, trainable: str, flash: bool, predictions: int) -> None:
        super().__init__()
        rank = int(trainable[5:]) if trainable.startswith("lora:") else 0
        self.model, width = model, model.blocks[0].hidden
        self.stacks = nn.ModuleList(
            nn.ModuleList(Layer(model, i, rank, flash) for _ in range(b.repeat))
            for i, b in enumerate(model.blocks)
        )
        sizes = (model.vocabulary, model.positions, model.token_types)
        self.tables = nn.ModuleList(nn.Embedding(n, width, dtype=DTYPE) for n in sizes if n)
        self.patches = linear(model.patch_inputs, width, True) if model.patches else None
        self.first = nn.Parameter(torch.zeros(1, 1, width, dtype=DTYPE)) if model.patches else None
        self.norm = Norm(model, width) if model.embedding_norm else None
        self.finals = nn.ModuleList(
            Norm(model, width) if model.pre_norm else nn.Identity() for _ in model.blocks
        )
        table = None if model.patches else self.tables[0].weight
        self.head = Head(model, model.blocks[-1].hidden, predictions, table)
        if trainable != "all":
            for name, parameter in self.named_parameters():
                own = name.startswith("head.") and name != "head.table"
                parameter.requires_grad_(own or "low_rank" in name)

    def embedded(self, batch: int, length: int) -> Tensor:
        if self.patches is not None:
            assert self.first is not None
            x = self.patches(
                torch.randn(batch, self.model.patches, self.model.patch_inputs, dtype=DTYPE)
            )
            x = torch.cat((self.first.expand(batch, 1, -1), x), 1)
            x = x + self.tables[0](torch.arange(x.shape[1]))
        else:
            ids = torch.zeros(batch, length, dtype=torch.long)
            x = sum(table(ids) for table in self.tables)  # type: ignore[assignment]
        x = x if self.norm is None else self.norm(x)
        return Drop.apply(x) if self.model.dropout else x

    def forward(self, batch: int, length: int) -> Tensor:
        memory, x = None, self.embedded(batch, length)
        for i, stack in enumerate(self.stacks):
            if i:  # the decoder of an encoder-decoder
                memory, x = x, self.embedded(batch, length)
            for layer in stack:
                x = layer(x, memory)
            x = self.finals[i](x)
        return self.head(x)


@contextmanager
def saved(module: nn.Module) -> Iterator[dict[int, int]]:
    """Storage -> bytes of every tensor that is saved for the backward pass.

    Not counted: parameters, indices, and one number for each row (means and deviations of
    norms, sums of exponentials of flash attention), which the published counts leave out, too.
    """
    own = {p.untyped_storage().data_ptr() for p in module.parameters()}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        alive.append(t)  # or its address may be used again
        rows = t.dim() < 2 or t.shape[-1] == 1 or (t.dtype == torch.float32 and t.dim() == 3)
        counted = t.dtype in (torch.bfloat16, torch.bool, torch.float32) and not rows
        if counted and storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        yield sizes
