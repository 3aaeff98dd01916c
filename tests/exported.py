"""A program of torch.export as its archive has it, written without PyTorch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

FLOAT, LONG = 7, 5


def symbol(name: str, hint: int = 4) -> dict[str, Any]:
    """A side that varies, in the notation of PyTorch 2.7 and later."""
    text = f"Symbol('{name}', positive=True, integer=True)"
    return expression(text, hint)


def expression(text: str, hint: int = 4) -> dict[str, Any]:
    """A side that is computed."""
    return {"as_expr": {"expr_str": text, "hint": {"as_int": hint}}}


def tensor(*sides: Any, dtype: int = FLOAT) -> dict[str, Any]:
    """What an archive says of a tensor."""
    sizes = [{"as_int": side} if isinstance(side, int) else side for side in sides]
    return {"dtype": dtype, "sizes": sizes}


def node(target: str, inputs: list[str], output: str, module: str = "") -> dict[str, Any]:
    """A call of an operator on tensors."""
    stack = f"L__self__,,M;L__{module},{module},torch.nn.Linear" if module else ""
    return {
        "target": target,
        "inputs": [
            {"name": f"a{i}", "arg": {"as_tensor": {"name": name}}, "kind": 1}
            for i, name in enumerate(inputs)
        ],
        "outputs": [{"as_tensor": {"name": output}}],
        "metadata": {"nn_module_stack": stack},
    }


def program(**changed: Any) -> dict[str, Any]:
    """Two linear layers of 8 to 16 to 8 with a GELU, on batch x length tokens."""
    b, n = symbol("s0"), symbol("s1", 16)
    values = {
        "w1": tensor(16, 8),
        "w2": tensor(8, 16),
        "x": tensor(b, n, 8),
        "h": tensor(b, n, 16),
        "g": tensor(b, n, 16),
        "y": tensor(b, n, 8),
    }
    nodes = [
        node("torch.ops.aten.linear.default", ["x", "w1"], "h", "layers.0.up"),
        node("torch.ops.aten.gelu.default", ["h"], "g", "layers.0.act"),
        node("torch.ops.aten.linear.default", ["g", "w2"], "y", "layers.0.down"),
    ]
    specs = [
        {"parameter": {"arg": {"name": w}, "parameter_name": f"{w}.weight"}} for w in ("w1", "w2")
    ]
    specs.append({"user_input": {"arg": {"as_tensor": {"name": "x"}}}})
    graph = {"nodes": nodes, "tensor_values": values, "inputs": [], "outputs": []}
    return {
        "graph_module": {"graph": graph, "signature": {"input_specs": specs}},
        "range_constraints": {"s0": {"min_val": 2, "max_val": 64}, "s1": {"min_val": 2}},
        "torch_version": "2.13.0",
        **changed,
    }


def archive(
    path: Path, document: object | None = None, name: str = "m/models/model.json", **more: bytes
) -> str:
    """Writes an archive and returns its name. more : other members, with __ for a slash."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("m/archive_format", "pt2")
        made.writestr(name, json.dumps(program() if document is None else document))
        for member, content in more.items():
            made.writestr(member.replace("__", "/"), content)
    return str(path)
