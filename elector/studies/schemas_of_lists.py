"""JSON Schemas of lists and tables: operations of a model, densities, measured figures.

A table (CSV) is the list of its rows to a schema, each a mapping of columns to texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elector.describe.formats.operations import COMMON, FILE_KEYS, MOST, functions
from elector.describe.listing import OPERANDS, OUTPUTS, PRODUCT, VECTOR, WORKLOAD
from elector.describe.sizes import LARGEST, LONGEST
from elector.operations import sparsity
from elector.studies import validation_cases as cases
from elector.technology import EVIDENCE

Schema = dict[str, Any]
#: A number and perhaps its unit, as elector.base.units reads it.
_DIGITS = r"[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?"
QUANTITY = rf"^\s*{_DIGITS}\s*([A-Za-zµ%][A-Za-z0-9µ%*/^ ]*)?$"
#: A cell: some text; any text; a number, a number or nothing.
FILLED: Schema = {"type": "string", "minLength": 1}
ANY: Schema = {"type": "string"}
NUMBER: Schema = {"type": ["number", "string"], "pattern": QUANTITY}
PERHAPS: Schema = {"anyOf": [NUMBER, {"const": ""}]}


def rows(columns: Mapping[str, Schema], needed: Sequence[str], what: str, **more: Any) -> Schema:
    """The schema of a table.

    columns : column -> what a cell holds. needed : those that a row must have. what : the table in
    words. more : further keywords of a row.
    """
    row = {
        "type": "object",
        "properties": dict(columns),
        "additionalProperties": False,
        "required": list(needed),
        **more,
    }
    return {"type": "array", "items": row, "description": f"the rows of {what} (CSV)"}


def cell(choices: Sequence[str], empty: bool = False) -> Schema:
    """One of some texts, or nothing where `empty`."""
    return {"enum": [*choices, *([""] if empty else [])]}


def operations() -> Schema:
    """An operation list: docs/operation-lists.md."""
    whole: Schema = {"type": "integer", "minimum": 0, "maximum": int(LARGEST)}
    names = ", ".join(WORKLOAD)
    size: Schema = {
        "description": f"a whole number, or arithmetic with {names} and the symbols of the file",
        "anyOf": [whole, {"type": "string", "minLength": 1, "maxLength": LONGEST}],
    }
    label: Schema = {"type": ["string", "integer"]}
    shared: Schema = {
        "name": label,
        "layer": label,
        "count": size,
        "a": cell(OPERANDS),
        "b": cell((*OPERANDS, "none")),
        "out": cell(OUTPUTS),
    }
    assert set(shared) == set(COMMON)
    product = _entry({**shared, **dict.fromkeys(PRODUCT, size)}, ("m", "k", "n"))
    vector = _entry(
        {**shared, "operation": cell(functions()), **dict.fromkeys(VECTOR, size)},
        ("operation", "elements"),
    )
    entry = {"if": {"required": ["operation"]}, "then": vector, "else": product, "type": "object"}
    keys: Schema = {
        "kind": {"const": "operations"},
        "name": label,
        "source": label,
        "symbols": {"type": "object", "propertyNames": {"pattern": r"^[^\W\d]\w*$"}},
        "parameters": {"type": ["integer", "string", "null"], "description": "weights in all"},
        "operations": {"type": "array", "minItems": 1, "maxItems": MOST, "items": entry},
    }
    assert set(keys) == set(FILE_KEYS)
    return _entry(keys, ("kind", "operations"))


def _entry(keys: Mapping[str, Schema], needed: Sequence[str]) -> Schema:
    return {
        "type": "object",
        "properties": dict(keys),
        "additionalProperties": False,
        "required": list(needed),
    }


def densities() -> Schema:
    """A sparsity table: docs/acceltran.md."""
    columns: Schema = dict.fromkeys(sparsity.COLUMNS, ANY)
    columns |= {
        "tau_i": PERHAPS,
        "tau_t": PERHAPS,
        "phase": cell(sparsity.PHASES),
        "operand": cell(sparsity.OPERANDS),
        "density": NUMBER | {"minimum": 0, "maximum": 1},
        "accuracy": {"type": ["number", "string"]},
        "evidence": cell(sparsity.EVIDENCE, empty=True),
    }
    needed = [name for name in sparsity.COLUMNS if name not in sparsity.OPTIONAL]
    return rows(columns, needed, "a sparsity table")


def measured() -> Schema:
    """Figures of one's own, as `elector validate --data` takes them: docs/validation.md."""
    columns: Schema = {
        name: FILLED if name in cases.REQUIRED and name not in cases.MAY_BE_EMPTY else ANY
        for name in cases.COLUMNS
    }
    columns |= {
        "value": {"anyOf": [FILLED, {"type": "number"}]},
        "kind": cell(cases.KINDS),
        "evidence": cell(EVIDENCE),
        **{name: cell(("yes", "no"), empty=True) for name, _ in cases.FLAGS},
    }
    return rows(columns, cases.REQUIRED, "a table of measured or published figures")
