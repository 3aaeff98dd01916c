"""An ONNX file -> what it runs at given sizes, node by node.

Sizes come from ONNX's own inference of shapes, for one value of every size that varies; small
tensors whose values follow from sizes (the target of a Reshape, say) are computed with ONNX's
reference operators. Weights kept in other files are not opened. Control flow, operators of
others and sizes that follow from values are refused by name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elector.base import paths
from elector.base.errors import InputError
from elector.describe.imports import limits
from elector.describe.imports.calls import OperatorCall, ProgramTensor, UnknownOperators, rows
from elector.describe.imports.naming import Names, Varying, names
from elector.describe.imports.program import ImportedProgram
from elector.describe.imports.traced import Traced

#: Codes of numbers that are computed with (onnx.TensorProto): float, half, double, bfloat16 and
#: floats of 8 and 4 bits; and of those that weights are packed in: whole numbers of 8 and 4 bits.
_FLOATING = frozenset((1, 10, 11, 16, 17, 18, 19, 20, 23))
_PACKED = frozenset((2, 3, 21, 22))
_FLOW = frozenset(("If", "Loop", "Scan", "SequenceMap"))
#: Tensors up to here are computed where their values follow from sizes.
_SMALL = 4096
#: What only reorders or unpacks its first input: still those weights.
_CARRIES = frozenset(
    ("Transpose", "Cast", "DequantizeLinear", "Reshape", "Identity", "Unsqueeze", "Squeeze")
)


def read_onnx(path: str, asked: Mapping[str, str]) -> ImportedProgram:
    """What an ONNX model runs. asked : sizes that the user names or fixes.

    Raises InputError for a file that is no such model, control flow, operators that are not
    ONNX's, and sizes that follow from values.
    """
    with limits.at_most(limits.READ_SECONDS, "reading it", path):
        model = _model(path)
    _require_plain(model, path)
    mapping = names(_varying(model, path), asked, path)
    unknown = UnknownOperators()
    weights = _weights(model)

    def trace(point: Mapping[str, int]) -> Sequence[Traced]:
        with limits.at_most(limits.TRACE_SECONDS, "inferring its sizes", path):
            return _run(model, mapping, point, weights, unknown, path)

    said = [f"{name} is {symbol}" for name, symbol in mapping.named.items()]
    said += [f"{name} is fixed to {value}" for name, value in mapping.fixed.items()]
    source = f"ONNX file of {model.producer_name or 'an unknown tool'} {model.producer_version}"
    return ImportedProgram(
        trace, mapping.symbols, sum(weights.values()), source.strip(), said, unknown
    )


def _model(path: str) -> Any:
    """The model, its local functions written out."""
    import onnx
    from google.protobuf.message import DecodeError

    data = paths.read_bytes(path, limits.PROGRAM)
    try:
        model = onnx.load_model_from_string(data)
        if model.functions:
            from onnx import inliner

            model = inliner.inline_local_functions(model)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise InputError(f"is no ONNX model: {error}", file=path) from None
    if not model.graph.node:
        raise InputError("is no ONNX model: it has no operators", file=path)
    return model


def _require_plain(model: Any, path: str) -> None:
    """Refuse control flow and operators that are not ONNX's."""
    for node in model.graph.node:
        if node.op_type in _FLOW:
            raise InputError(
                f"control flow is not followed: {node.op_type} ({node.name or node.output[0]})",
                file=path,
            )
        if node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"the operator {node.domain}.{node.op_type} is none of ONNX's own "
                f"({node.name or node.output[0]})",
                file=path,
            )


def _varying(model: Any, path: str) -> dict[str, Varying]:
    """The named sizes of the inputs."""
    symbols: dict[str, Varying] = {}
    stored = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in stored:
            continue
        kind = value.type.tensor_type
        if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
            raise InputError(f"the input {value.name} has no shape", file=path)
        for dimension, side in enumerate(kind.shape.dim):
            if side.HasField("dim_value") and side.dim_value > 0:
                continue
            name = side.dim_param or f"{value.name}_{dimension}"
            entry = symbols.setdefault(name, Varying())
            tokens = kind.elem_type not in _FLOATING or len(kind.shape.dim) == 3
            entry.places.append((dimension, tokens))
    return symbols


def _weights(model: Any) -> dict[str, int]:
    """Parameter -> its elements: stored numbers that a node reads, single ones left out."""
    read = {name for node in model.graph.node for name in node.input}
    elements_of = {}
    for tensor in model.graph.initializer:
        elements = math.prod(tensor.dims)
        if tensor.name in read and elements > 1 and tensor.data_type in _FLOATING | _PACKED:
            elements_of[tensor.name] = elements
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                elements = math.prod(attribute.t.dims) if attribute.name == "value" else 0
                if elements > 1 and attribute.t.data_type in _FLOATING | _PACKED:
                    elements_of[node.output[0]] = elements
    return elements_of


# ---- one pass ----


@dataclass
class _State:
    """What is known of tensors: types with their sides, values of small ones, weights."""

    types: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    weights: dict[str, tuple[str, int]] = field(default_factory=dict)

    def tensor(self, name: str) -> ProgramTensor:
        """A tensor as calls see it."""
        kind = self.types[name].tensor_type
        shape = tuple(int(side.dim_value) for side in kind.shape.dim)
        weight, held = self.weights.get(name, ("", 0))
        return ProgramTensor(shape, kind.elem_type in _FLOATING, weight, held)


def _run(
    model: Any,
    mapping: Names,
    point: Mapping[str, int],
    weights: dict[str, int],
    unknown: UnknownOperators,
    path: str,
) -> list[Traced]:
    """What the model runs at one point."""
    state = _start(model, mapping.values(point))
    state.weights = {name: (name, held) for name, held in weights.items()}
    traced: list[Traced] = []
    for node in model.graph.node:
        _infer(node, model, state, path)
        call = OperatorCall(
            node.op_type,
            _path(node),
            [state.tensor(name) if name in state.types else None for name in node.input],
            [state.tensor(name) for name in node.output if name in state.types],
            _attributes(node),
        )
        if node.op_type in _CARRIES and node.input[0] in state.weights:
            for name in node.output:
                state.weights[name] = state.weights[node.input[0]]
            continue
        try:
            traced += rows(call, "onnx", unknown)
        except InputError as error:
            raise InputError(error.problem, file=path) from None
    return traced


def _start(model: Any, sizes: Mapping[str, int]) -> _State:
    """Types of inputs and stored tensors, and values of small stored ones."""
    import onnx
    from onnx import numpy_helper

    state = _State()
    for value in model.graph.input:
        kind = onnx.TypeProto()
        kind.CopyFrom(value.type)
        for dimension, side in enumerate(kind.tensor_type.shape.dim):
            if not (side.HasField("dim_value") and side.dim_value > 0):
                side.dim_value = sizes[side.dim_param or f"{value.name}_{dimension}"]
        state.types[value.name] = kind
    for tensor in model.graph.initializer:
        state.types[tensor.name] = onnx.helper.make_tensor_type_proto(
            tensor.data_type, list(tensor.dims)
        )
        here = tensor.data_location != onnx.TensorProto.EXTERNAL
        if here and math.prod(tensor.dims) <= _SMALL:
            state.values[tensor.name] = numpy_helper.to_array(tensor)
    return state


def _infer(node: Any, model: Any, state: _State, path: str) -> None:
    """Types of what a node makes, and the values of small ones."""
    import numpy as np
    import onnx

    at = f"{node.op_type} ({node.name or node.output[0]})"
    missing = [name for name in node.input if name and name not in state.types]
    if missing:
        raise InputError(f"{at} reads {missing[0]}, which nothing makes", file=path)
    inputs = [name for name in node.input if name]
    if node.op_type == "Shape":
        given = {a.name: a.i for a in node.attribute}
        shape = np.array(state.tensor(node.input[0]).shape, dtype=np.int64)
        state.values[node.output[0]] = shape[given.get("start", 0) : given.get("end")]
    try:
        made = _outputs(node, model, state, inputs)
    except Exception as error:  # of a C++ library: nothing narrower is raised
        text = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"{at}: its sizes cannot be inferred: {text}", file=path) from None
    state.types |= {name: kind for name, kind in made.items() if name}
    if node.output[0] not in state.values:
        _compute(node, model, state, inputs)
    for name in node.output:
        if name in state.values:
            value = np.asarray(state.values[name])
            code = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            state.types[name] = onnx.helper.make_tensor_type_proto(code, value.shape)
        elif name:
            _require_known(name, state, at, path)


def _outputs(node: Any, model: Any, state: _State, inputs: list[str]) -> dict[str, Any]:
    """Name of what a node makes -> its type, by ONNX's own inference."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    known = {
        name: numpy_helper.from_array(np.asarray(state.values[name]))
        for name in inputs
        if name in state.values
    }
    version = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
    made: dict[str, Any] = onnx.shape_inference.infer_node_outputs(
        _schema(node.op_type, version),
        node,
        {name: state.types[name] for name in inputs},
        known,
        opset_imports=list(model.opset_import),
        ir_version=model.ir_version,
    )
    return made


@functools.lru_cache(maxsize=1024)
def _schema(name: str, version: int) -> Any:
    import onnx

    return onnx.defs.get_schema(name, version)


def _require_known(name: str, state: _State, at: str, path: str) -> None:
    kind = state.types.get(name)
    known = (
        kind is not None
        and kind.HasField("tensor_type")
        and kind.tensor_type.HasField("shape")
        and all(side.HasField("dim_value") for side in kind.tensor_type.shape.dim)
    )
    if not known:
        raise InputError(
            f"the size of what {at} makes is unknown: it follows from values, not from sizes",
            file=path,
        )


def _compute(node: Any, model: Any, state: _State, inputs: list[str]) -> None:
    """The values of small tensors that follow from values that are known."""
    import numpy as np
    import onnx
    from onnx.reference import ReferenceEvaluator

    if node.op_type.startswith(("Random", "Multinomial", "Bernoulli")):
        return
    if any(name not in state.values for name in inputs):
        return
    if not all(_is_small(name, state) for name in node.output if name):
        return
    graph = onnx.helper.make_graph(
        [node],
        "one",
        [onnx.helper.make_value_info(name, state.types[name]) for name in dict.fromkeys(inputs)],
        [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    alone = onnx.helper.make_model(graph, opset_imports=list(model.opset_import))
    try:
        made = ReferenceEvaluator(alone).run(None, {n: state.values[n] for n in inputs})
    except Exception:  # an operator without a reference: its type is enough, or is refused
        return
    for name, value in zip([n for n in node.output if n], made, strict=True):
        if isinstance(value, np.ndarray | np.generic):
            state.values[name] = np.asarray(value)


def _is_small(name: str, state: _State) -> bool:
    """Whether a tensor is known to be small, or is a single row whose length is not known."""
    kind = state.types.get(name)
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return False
    sides = kind.tensor_type.shape.dim
    if not all(side.HasField("dim_value") for side in sides):
        return False
    return math.prod(side.dim_value for side in sides) <= _SMALL


def _path(node: Any) -> str:
    """Where a node stands: its name where that is a path, else its operator."""
    if "/" in node.name:
        return ".".join(part for part in node.name.split("/") if part)
    return str(node.op_type)


def _attributes(node: Any) -> dict[str, object]:
    """Attributes that say what a product is."""
    attributes: dict[str, object] = {}
    for attribute in node.attribute:
        if attribute.name in ("group", "transA", "transB"):
            attributes[attribute.name] = int(attribute.i)
        elif attribute.name == "equation":
            attributes["equation"] = attribute.s.decode("utf-8", "replace")
    return attributes
