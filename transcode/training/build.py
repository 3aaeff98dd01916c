"""A description of ours as a PyTorch module: same parameters, same matrix products."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from elector.base.errors import InputError
from elector.base.table import Column
from elector.describe.model import HEAD_TYPES, Model, one, unlike_plain
from elector.evaluation.resolve import resolve
from transcode.dynaprop import Site
from transcode.training.layers import ACTIVATIONS, Layer, Setting, norm
from transcode.training.task import Task


def described(name: str, settings: Mapping[str, object] | None = None) -> Model:
    """The model that `elector simulate NAME --set model.KEY=VALUE` means.

    settings : `model.layers` and the like -> value. Raises InputError as the simulator does.

    name : of a model, or a file.
    """
    columns = {"model": Column.constant(name, 1), "accelerator": Column.constant("systolic", 1)}
    for key, value in (settings or {}).items():
        if not key.startswith("model."):
            raise InputError("is no setting of a model", field=key, value=value)
        columns[key] = Column.constant(value, 1)
    return one(next(iter(resolve(columns, 1))).models)


def for_task(model: Model, task: Task) -> Model:
    """The same layers with the input and output layers of a task.

    Tokens enter through an embedding table of the task's vocabulary. Values enter as the
    patches of a vision model do: a projection, and a class token, which stands last so that
    causal layers see all of the sequence from it. Positions are those of the task's
    sequences. What comes out: one label per class, or one per forecast number and series, or
    the next token. Raises InputError for pairs that have no meaning.
    """
    _require_fit(model, task)
    causal = model.blocks[0].causal
    values = task.inputs == "values"
    length = task.sequence_length + (1 if values else 0)
    known = model.positions > 0
    return replace(
        model,
        family="vision" if values else "decoder" if causal else "encoder",
        vocabulary=0 if values else task.vocabulary or 0,
        positions=length if known else 0,
        token_types=0,
        head="causal-lm" if task.kind == "language" else "classifier",
        labels=task.outputs,
        patch_inputs=(task.features or 0) if values else 0,
        patches=task.sequence_length if values else 0,
    )


def _refuse(model: Model, problem: str, hint: str | None = None) -> None:
    raise InputError(problem, field="model", value=model.name, hint=hint)


def _require_fit(model: Model, task: Task) -> None:
    """Refuses models that cannot be trained on a task."""
    refuse = functools.partial(_refuse, model)
    if model.family in ("gemm", "encoder-decoder") or not model.blocks:
        refuse(
            f"a model of family {model.family} cannot be trained here", "an encoder or a decoder"
        )
    if model.position_kind == "relative-bias":
        refuse(
            "relative position biases cannot be trained here",
            "learned, rotary or relative-key positions",
        )
    if other := unlike_plain(model):
        refuse(f"{other} cannot be trained here", "an encoder or a decoder of plain layers")
    causal = {block.causal for block in model.blocks}
    if len(causal) > 1:
        refuse("layers that see the future and layers that do not cannot be mixed")
    if task.kind == "language" and not all(causal):
        refuse(
            f"task {task.name} predicts the next token, and an encoder would see it",
            "a decoder, such as the base `decoder`",
        )
    _require_heads(model, task)


def _require_heads(model: Model, task: Task) -> None:
    """Refuses heads that see what they may not, or more tokens than there are."""
    refuse = functools.partial(_refuse, model)
    for block in model.blocks:
        types = dict(zip(HEAD_TYPES, block.head_types or (0,) * len(HEAD_TYPES), strict=True))
        if block.causal and any(types[kind] for kind in HEAD_TYPES[2:]):
            refuse("transforms and convolutions see the future, a causal model may not")
        kernels = [kernel for kernel in (5, 9, 13) if types[f"c{kernel}"]]
        if kernels and kernels[-1] > task.sequence_length:
            refuse(
                f"its convolution of {kernels[-1]} is longer than the "
                f"{task.sequence_length} tokens of task {task.name}"
            )


class Transformer(nn.Module):
    """A description as a module.

    forward : tokens (B, L) or values (B, L, features) -> (B, outputs), or logits
    (B, L, vocabulary) of the next token.
    """

    def __init__(self, model: Model, setting: Setting) -> None:
        super().__init__()
        self.model = model
        hidden = model.blocks[0].hidden
        vision = model.family == "vision"
        self.tokens = None if vision else nn.Embedding(model.vocabulary, hidden)
        self.patches = nn.Linear(model.patch_inputs, hidden) if vision else None
        # Logits of tied tables start at about one, and positions are heard beside tokens.
        scale = hidden**-0.5
        self.class_token = nn.Parameter(torch.randn(hidden) * scale) if vision else None
        learned = model.positions and model.position_kind == "learned"
        table = torch.randn(model.positions if learned else 0, hidden) * scale
        self.positions = nn.Parameter(table) if learned else None
        self.embedding_norm = norm(model, hidden) if model.embedding_norm else None
        self.dropout = nn.Dropout(setting.dropout)
        self.layers = nn.Sequential(*_layers(model, setting))
        last = model.blocks[-1].hidden
        self.final_norm = norm(model, last) if model.pre_norm else None
        self.head = _head(model, last)
        if self.tokens is not None:
            nn.init.normal_(self.tokens.weight, std=scale)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of a batch.

        x : (B, L) tokens or (B, L, width) values, as the task has them.
        """
        x = self.dropout(self._embedded(x))
        x = self.layers(x)
        if self.final_norm is not None:
            x = self.final_norm(x)
        if self.model.head == "causal-lm":
            if self.model.tied_embeddings and self.tokens is not None:
                return functional.linear(x, self.tokens.weight)
            return self.head(x)
        return self.head(x[:, -1])

    def _embedded(self, x: Tensor) -> Tensor:
        if self.tokens is not None:
            x = self.tokens(x)
        elif self.patches is not None and self.class_token is not None:
            last = self.class_token.expand(x.shape[0], 1, -1)
            x = torch.cat((self.patches(x), last), dim=1)
        if self.positions is not None:
            x = x + self.positions[: x.shape[1]]
        return x if self.embedding_norm is None else self.embedding_norm(x)


def _layers(model: Model, setting: Setting) -> list[nn.Module]:
    """Layers in order, numbered as the simulator does: by block where there are several."""
    built: list[nn.Module] = []
    before = model.blocks[0].hidden
    for index, block in enumerate(model.blocks):
        for repeat in range(block.repeat):
            layer = index + 1 if len(model.blocks) > 1 else repeat + 1
            built.append(Layer(block, before, layer, setting))
            before = block.hidden
    return built


class Pooler(nn.Module):
    """hidden -> hidden -> tanh on one token."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, hidden)
        self.site = Site("pooler")

    def forward(self, x: Tensor) -> Tensor:
        """(B, hidden) -> (B, hidden).

        x : (B, hidden).
        """
        return torch.tanh(self.site(self.dense(x)))


def _head(model: Model, hidden: int) -> nn.Module:
    if model.head == "causal-lm":
        if model.tied_embeddings:
            return nn.Identity()
        return nn.Linear(hidden, model.vocabulary, bias=False)
    outputs = nn.Linear(hidden, model.labels, bias=model.family != "decoder")
    return nn.Sequential(Pooler(hidden), outputs) if model.head_dense else outputs


def build(model: Model, task: Task, *, dropout: float = 0.1, seed: int = 0) -> Transformer:
    """The model with the task's input and output layers, initialised from `seed`.

    dropout : share of activations set to zero in training; a model without dropout has none.
    Raises InputError for a dropout outside [0, 1) and for pairs without meaning (`for_task`).
    """
    if not 0.0 <= dropout < 1.0:
        raise InputError("must be at least 0 and below 1", field="dropout", value=dropout)
    fitted = for_task(model, task)
    length = task.sequence_length + (1 if task.inputs == "values" else 0)
    setting = Setting(
        model=fitted,
        length=length,
        dropout=dropout if fitted.dropout else 0.0,
        stacks=max(len(block.feed_forward) for block in fitted.blocks),
    )
    assert fitted.activation in ACTIVATIONS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % (1 << 63))  # torch takes 63 bits
        return Transformer(fitted, setting)
