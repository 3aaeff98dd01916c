"""A program of torch.export (`.pt2`), from the JSON in its archive.

`torch.export.load` is not called: it falls back to unpickling, and it evaluates the text of
symbolic sizes, so that a file could run code. Here the archive is a zip, its description JSON,
and sizes are read by a grammar of their own. PyTorch is not needed. Weights are not read.
"""

from __future__ import annotations

import ast
import functools
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elector.base.errors import InputError
from elector.base.spelling import require_text
from elector.describe.imports import limits
from elector.describe.imports.calls import OperatorCall, ProgramTensor, UnknownOperators, rows
from elector.describe.imports.naming import Names, Varying, names
from elector.describe.imports.program import ImportedProgram
from elector.describe.imports.traced import Traced

#: Codes of numbers that are computed with (torch._export.serde.schema.ScalarType): halves,
#: floats, doubles, complex ones, bfloat16 and floats of 8 bits.
_FLOATING = frozenset((6, 7, 8, 9, 10, 11, 13, 29, 30, 31, 32))

_OPERATORS: dict[str, Callable[..., int]] = {
    "Add": lambda *v: sum(v),
    "Mul": lambda *v: math.prod(v),
    "Pow": lambda a, b: a**b if 0 <= b <= 8 else _refuse(),
    "Max": max,
    "Min": min,
    "FloorDiv": lambda a, b: a // b,
    "CleanDiv": lambda a, b: a // b,
    "CeilDiv": lambda a, b: -(-a // b),
    "Mod": lambda a, b: a % b,
    "PythonMod": lambda a, b: a % b,
}
_BINARY: dict[type, str] = {
    ast.Add: "Add",
    ast.Mult: "Mul",
    ast.Pow: "Pow",
    ast.FloorDiv: "FloorDiv",
    ast.Mod: "Mod",
}


def read_exported(path: str, asked: Mapping[str, str]) -> ImportedProgram:
    """What an exported program runs. asked : sizes that the user names or fixes.

    Raises InputError for a file that is no such archive, control flow, and operators of others.
    """
    with limits.at_most(limits.READ_SECONDS, "reading it", path):
        document, shared = _archive(path)
        graph = _Graph.of(document, shared, path)
        varying = _varying(document, graph, path)
    mapping = names(varying, asked, path)
    unknown = UnknownOperators()

    def trace(point: Mapping[str, int]) -> Sequence[Traced]:
        traced: list[Traced] = []
        for call in _calls(graph, mapping, point, path):
            try:
                traced += rows(call, "aten", unknown)
            except InputError as error:
                raise InputError(error.problem, file=path) from None
        return traced

    version = document.get("torch_version", "unknown")
    held = {weight: held for weight, held in graph.weights.values()}
    said = [f"{name} is {symbol}" for name, symbol in mapping.named.items()]
    said += [f"{name} is fixed to {value}" for name, value in mapping.fixed.items()]
    source = f"program of torch.export, PyTorch {version}"
    return ImportedProgram(trace, mapping.symbols, sum(held.values()), source, said, unknown)


# ---- the archive ----


def _archive(path: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The description of the program, and parameter -> the stored tensor it is."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise InputError(
            "is no .pt2 archive (a zip with models/*.json)",
            file=path,
            hint="a pickle is never read: torch.export.save writes a .pt2",
        ) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    with archive:
        members = archive.namelist()
        models = [m for m in members if "/models/" in m and m.endswith(".json")]
        models += [m for m in members if m.endswith("serialized_exported_program.json")]
        if len(models) != 1:
            pickled = any(m.endswith(".pkl") for m in members)
            problem = "is a checkpoint with a pickle" if pickled else "holds no exported program"
            if len(models) > 1:
                problem = f"holds {len(models)} programs; one is read"
            raise InputError(
                problem, file=path, hint="torch.export.save(program, FILE) writes a .pt2"
            )
        document = _json(archive, models[0], path)
        weights = [m for m in members if m.endswith("model_weights_config.json")]
        shared = _shared(_json(archive, weights[0], path)) if weights else {}
    return document, shared


def _json(archive: zipfile.ZipFile, member: str, path: str) -> dict[str, Any]:
    """A member of the archive: JSON of at most the size of a description."""
    try:
        with archive.open(member) as stream:
            data = stream.read(limits.DESCRIPTION + 1)
        if len(data) > limits.DESCRIPTION:
            raise InputError(f"{member} is larger than {limits.DESCRIPTION >> 20} MiB", file=path)
        document = json.loads(data)
    except (ValueError, RecursionError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as e:
        raise InputError(f"{member} is not JSON: {e}", file=path) from None
    if not isinstance(document, dict):
        raise InputError(f"{member} is no description of a program", file=path)
    require_text(document, path)
    return document


def _shared(config: dict[str, Any]) -> dict[str, str]:
    """Parameter -> the name of the tensor stored for it: tied ones have one."""
    entries = config.get("config")
    if not isinstance(entries, dict):
        return {}
    return {
        name: str(entry["path_name"])
        for name, entry in entries.items()
        if isinstance(entry, dict) and "path_name" in entry
    }


# ---- the graph ----


@dataclass
class _Graph:
    """A graph with what its tensors are.

    nodes : calls in order. values : tensor -> its description. weights : tensor -> (parameter,
    its elements). inputs : tensors that the user gives.
    """

    nodes: list[dict[str, Any]]
    values: dict[str, Any]
    weights: dict[str, tuple[str, int]]
    inputs: list[str]

    @classmethod
    def of(cls, document: dict[str, Any], shared: dict[str, str], path: str) -> _Graph:
        """The graph of a description. Raises InputError where it has not the form of one."""
        try:
            module = document["graph_module"]
            graph, signature = module["graph"], module["signature"]
            nodes, values = list(graph["nodes"]), dict(graph["tensor_values"])
            weights: dict[str, tuple[str, int]] = {}
            inputs: list[str] = []
            for spec in signature["input_specs"]:
                kind, entry = next(iter(spec.items()))
                if kind == "parameter":
                    name, arg = str(entry["parameter_name"]), str(entry["arg"]["name"])
                    held = math.prod(_number(s) for s in values[arg]["sizes"])
                    weights[arg] = (shared.get(name, name), held)
                elif kind == "user_input" and "as_tensor" in entry["arg"]:
                    inputs.append(str(entry["arg"]["as_tensor"]["name"]))
            return cls(nodes, values, weights, inputs)
        except (KeyError, TypeError, AttributeError, StopIteration, ValueError) as error:
            raise InputError(
                f"its description is not that of a program: {type(error).__name__}: {error}",
                file=path,
            ) from None


def _number(size: dict[str, Any]) -> int:
    """A side that does not vary."""
    return int(size["as_int"])


def _varying_sides(value: dict[str, Any], path: str) -> Iterator[tuple[int, ast.expr, Any]]:
    """Dimension, size and hint of each side of a tensor that is no number."""
    for dimension, size in enumerate(value["sizes"]):
        if "as_int" not in size:
            side = size["as_expr"]
            yield dimension, _parsed(side["expr_str"], path), side.get("hint") or {}


def _varying(document: dict[str, Any], graph: _Graph, path: str) -> dict[str, Varying]:
    """The symbols of the program, where they stand in its inputs, and their ranges."""
    symbols: dict[str, Varying] = {}
    try:
        for value in graph.values.values():
            for _, tree, _ in _varying_sides(value, path):
                symbols |= {name: Varying() for name in _symbols(tree) if name not in symbols}
        for tensor in graph.inputs:
            value = graph.values[tensor]
            tokens = value["dtype"] not in _FLOATING or len(value["sizes"]) == 3
            for dimension, tree, hint in _varying_sides(value, path):
                for name in _symbols(tree):
                    symbols[name].places.append((dimension, tokens))
                    if _is_symbol(tree) and isinstance(hint.get("as_int"), int):
                        symbols[name].default = hint["as_int"]
        for name, limit in (document.get("range_constraints") or {}).items():
            if name in symbols:
                symbols[name].low = max(int(limit.get("min_val") or 1), 1)
                symbols[name].high = min(int(limit.get("max_val") or 1 << 20), 1 << 20)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(
            f"a size of it cannot be read: {type(error).__name__}: {error}", file=path
        ) from None
    return symbols


class _TensorsAt:
    """The tensors of a graph at one point. weights : name -> those of the model it holds."""

    def __init__(self, graph: _Graph, sizes: Mapping[str, int], path: str) -> None:
        self.values, self.weights = graph.values, dict(graph.weights)
        self.sizes, self.path = sizes, path

    def named(self, name: str) -> ProgramTensor:
        """The tensor of a name."""
        value = self.values[name]
        weight, held = self.weights.get(name, ("", 0))
        shape = tuple(_side(size, self.sizes, self.path) for size in value["sizes"])
        return ProgramTensor(shape, value["dtype"] in _FLOATING, weight, held)

    def argument(self, arg: dict[str, Any]) -> object:
        """An argument of a call; None for what no row reads."""
        kind, value = next(iter(arg.items()))
        if kind == "as_tensor":
            return self.named(value["name"])
        if kind in ("as_tensors", "as_optional_tensors"):
            names = [v["name"] if "name" in v else v["as_tensor"]["name"] for v in value if v]
            return [self.named(name) for name in names]
        return value if isinstance(value, int | float | str | bool | list) else None


def _calls(
    graph: _Graph, mapping: Names, point: Mapping[str, int], path: str
) -> Iterator[OperatorCall]:
    """The calls of the graph at one point, graphs inside it included."""
    tensors, dtypes = _TensorsAt(graph, mapping.values(point), path), graph.values
    weights = tensors.weights
    try:
        for node in graph.nodes:
            name = _operator(node["target"], path)
            if not name:
                continue
            args = [tensors.argument(i["arg"]) for i in node["inputs"]]
            pairs = zip(node["inputs"], args, strict=True)
            named: dict[str, object] = {i["name"]: a for i, a in pairs if isinstance(a, int | str)}
            outs = [t for o in node["outputs"] for t in _tensors(o)]
            if name in ("to", "_to_copy", "contiguous", "alias", "detach", "t", "transpose"):
                first = next(iter(_tensors(node["inputs"][0]["arg"])), "")
                for out in outs:
                    if first in weights:
                        weights[out] = weights[first]
                if name == "to" and outs and dtypes[outs[0]]["dtype"] == dtypes[first]["dtype"]:
                    continue
            at = _module(node)
            yield OperatorCall(
                name, f"{at}.{name}" if at else name, args, [tensors.named(o) for o in outs], named
            )
    except (KeyError, TypeError, AttributeError, StopIteration, IndexError, ValueError) as error:
        raise InputError(
            f"its graph cannot be read: {type(error).__name__}: {error}", file=path
        ) from None


def _tensors(arg: dict[str, Any]) -> list[str]:
    kind, value = next(iter(arg.items()))
    if kind == "as_tensor":
        return [value["name"]]
    if kind == "as_tensors":
        return [v["name"] for v in value]
    return []


def _module(node: dict[str, Any]) -> str:
    """The path of the module in which a node stands."""
    stack = (node.get("metadata") or {}).get("nn_module_stack", "")
    parts = str(stack).split(";")[-1].split(",")
    return parts[1] if len(parts) > 2 else ""


def _operator(target: object, path: str) -> str:
    """The name of an aten operator; empty for work on sizes. Others are refused by name."""
    text = str(target)
    if text.startswith("torch.ops.aten."):
        return text.removeprefix("torch.ops.aten.").partition(".")[0]
    if text.startswith(("_operator.", "math.", "torch.sym_", "operator.", "builtins.")):
        return ""
    if text.startswith("torch.ops.higher_order."):
        raise InputError(
            f"control flow is not followed: {text.removeprefix('torch.ops.')}",
            file=path,
            hint="export it with program.run_decompositions(), or without branches",
        )
    raise InputError(f"the operator {text} is none of PyTorch's own", file=path)


# ---- sizes: sympy's notation, as text ----


def _refuse() -> int:
    raise ValueError("a power out of range")


def _parsed(text: object, path: str) -> ast.expr:
    """The syntax of a size. Raises InputError for anything but arithmetic of symbols."""
    if not isinstance(text, str) or len(text) > 2000:
        raise InputError("a size of it is no expression", file=path, value=str(text)[:80])
    try:
        return _tree(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError("a size of it is no expression", file=path, value=text[:80]) from None


@functools.lru_cache(maxsize=4096)
def _tree(text: str) -> ast.expr:
    tree = ast.parse(text, mode="eval").body
    _check(tree)
    return tree


def _check(tree: ast.expr) -> None:
    match tree:
        case ast.Constant(value=int()) | ast.Name():
            pass
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str())]):
            pass
        case ast.Call(func=ast.Name(id="Integer"), args=[inner]):
            _check(inner)
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            _check(inner)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left)
            _check(right)
        case ast.Call(func=ast.Name(id=name), args=args) if name in _OPERATORS:
            for arg in args:
                _check(arg)
        case _:
            raise ValueError(ast.dump(tree)[:80])


def _is_symbol(tree: ast.expr) -> bool:
    return isinstance(tree, ast.Name) or (
        isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name) and tree.func.id == "Symbol"
    )


def _symbols(tree: ast.expr) -> Iterator[str]:
    match tree:
        case ast.Name(id=name):
            yield name
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=name)]):
            yield str(name)
        case ast.Call(args=args):
            for arg in args:
                yield from _symbols(arg)
        case ast.BinOp(left=left, right=right):
            yield from _symbols(left)
            yield from _symbols(right)
        case ast.UnaryOp(operand=inner):
            yield from _symbols(inner)


def _side(size: dict[str, Any], values: Mapping[str, int], path: str) -> int:
    """A side at one point."""
    if "as_int" in size:
        return int(size["as_int"])
    tree = _parsed(size["as_expr"]["expr_str"], path)
    try:
        side = _value(tree, values)
    except (ZeroDivisionError, OverflowError, TypeError, KeyError) as error:
        raise InputError(f"a size of it cannot be computed: {error}", file=path) from None
    if not 0 <= side <= 1 << 53:
        raise InputError("a size of it is out of range", file=path, value=side)
    return side


def _value(tree: ast.expr, values: Mapping[str, int]) -> int:
    match tree:
        case ast.Constant(value=int(number)):
            return number
        case ast.Name(id=name):
            return values[name]
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=name)]):
            return values[str(name)]
        case ast.Call(func=ast.Name(id="Integer"), args=[inner]):
            return _value(inner, values)
        case ast.UnaryOp(operand=inner):
            return -_value(inner, values)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[_BINARY[type(op)]](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=name), args=args):
            return _OPERATORS[name](*(_value(arg, values) for arg in args))
    raise TypeError(ast.dump(tree)[:80])
