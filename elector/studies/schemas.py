"""JSON Schemas (draft 2020-12) of the files that users write, made of the tables the readers use.

They say what an editor can know: keys, kinds, choices, bounds and units. What only a reader can
know (that heads divide a width, that a file exists) is left to it, so that a file a schema takes
may still be refused, and a file it refuses is refused by the reader, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elector.base import units
from elector.base.errors import InputError
from elector.base.table import DATA, Field, read_rows, schema
from elector.describe.formats.described import BLOCK_KEYS, BLOCK_OPTIONS, FLAGS, GEMM_KEYS
from elector.describe.layered import STACKS
from elector.describe.model import HEAD_TYPES, MIXERS
from elector.evaluation.accelerators import list_accelerators, load_accelerator
from elector.hybrid.assign import ASKED, ATTRIBUTES
from elector.hybrid.read import CHOICES
from elector.machines import MACHINES
from elector.studies import SCHEMAS, schemas_of_lists
from elector.studies.schemas_of_lists import QUANTITY
from elector.studies.training_run import KEYS, LENGTHS, PHASE, SWITCH
from elector.technology.laws import LAWS
from elector.technology.rows import EVIDENCE, NODE_HIGH, NODE_LOW

Schema = dict[str, Any]
NAMES = SCHEMAS
DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TEXT: Schema = {"type": "string", "minLength": 1}
_ANY_NAME = r"^[a-z][a-z0-9_]*$"


def json_schema(name: str) -> Schema:
    """The schema of a kind of file.

    name : one of NAMES. A table (technology, sparsity, measurements) is the list of its rows, each
        a mapping of columns to texts.
    Raises InputError for another name.
    """
    makers = {
        "space": _space,
        "model": _model,
        "accelerator": _accelerator,
        "technology": _technology,
        "plan": _plan,
        "operations": schemas_of_lists.operations,
        "sparsity": schemas_of_lists.densities,
        "measurements": schemas_of_lists.measured,
    }
    if name not in makers:
        raise InputError("is no kind of file", field="schema", value=name, allowed=NAMES)
    return titled(name, makers[name]())


def titled(name: str, body: Schema) -> Schema:
    """The schema of a kind of file with what stands first in it."""
    return {"$schema": DRAFT, "title": f"{name} of elector and transcode", **body}


# ---- values


def value(field: Field) -> Schema:
    """What one key may hold: a bare number in its unit, text with a unit, a choice."""
    held = _KINDS[field.type](field)
    words = [field.description]
    if field.unit not in ("", "1"):
        words.append(f"a bare number is in {field.unit}")
    held["description"] = "; ".join(word for word in words if word)
    if field.default is not None:
        held["default"] = _default(field)
    return held


def _number(field: Field) -> Schema:
    kind = "integer" if field.type == "int" else "number"
    number: Schema = {"type": kind}
    size = units.parse(1.0, field.unit or "1")
    for key, bound in (("minimum", field.low), ("maximum", field.high)):
        if bound is not None:
            number[key] = _tidy(bound / size)
    if field.type == "int" and field.choices:
        return {"enum": [*map(int, field.choices), *field.choices]}
    return {"anyOf": [number, {"type": "string", "pattern": QUANTITY}]}


def _tidy(bound: float) -> float | int:
    """A bound in the unit of a bare number, without what dividing left behind."""
    rounded = float(f"{bound:.12g}")
    return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded


def _choice(field: Field) -> Schema:
    words: list[object] = list(field.choices)
    # YAML reads `true` as a boolean where the choices may be auto, true and false
    words += [word == "true" for word in field.choices if word in ("true", "false")]
    return {"enum": words}


def _bool(field: Field) -> Schema:
    return {"anyOf": [{"type": "boolean"}, {"enum": ["true", "false", "True", "False"]}]}


def _text(field: Field) -> Schema:
    return dict(_TEXT)


_KINDS = {"int": _number, "float": _number, "choice": _choice, "bool": _bool, "text": _text}


def _default(field: Field) -> object:
    """The default as a file would say it."""
    if field.type not in ("int", "float") or field.default is None:
        return field.default
    return _tidy(float(field.default) / units.parse(1.0, field.unit or "1"))


def _closed(properties: Mapping[str, Any], **more: Any) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
        **more,
    }


def _of(fields: Mapping[str, Field]) -> Schema:
    return {key: value(field) for key, field in fields.items()}


def _one_or_list(entry: Schema, least: int = 1) -> Schema:
    return {"anyOf": [entry, {"type": "array", "items": entry, "minItems": least}]}


# ---- models


def _model() -> Schema:
    keys = schema("model")
    plain = _of({**keys, **schema("model_file")})
    plain["feed_forward"] = _one_or_list(plain["feed_forward"])
    block = _of({key: keys["layers" if key == "repeat" else key] for key in BLOCK_KEYS})
    block["feed_forward"] = _one_or_list(block["feed_forward"], least=0)  # none beside a mixer
    whole = {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": QUANTITY}]}
    flag = _bool(Field("", "bool", "", None, None, None, (), ""))
    options: Schema = {
        key: value(keys[key]) if key in keys else flag if key in FLAGS else _any_setting()
        for key in BLOCK_OPTIONS
    }
    options["mixer"] = {"enum": list(MIXERS)}
    options["head_types"] = _closed(dict.fromkeys(HEAD_TYPES, whole))
    plain["blocks"] = {"type": "array", "minItems": 1, "items": _closed({**block, **options})}
    sizes: Schema = {key: {"type": "string"} if key == "name" else whole for key in GEMM_KEYS}
    plain["pattern"] = _one_or_list({"type": ["string", "integer"]})
    plain["stem"] = {
        "type": "array",
        "items": _closed({"inputs": whole, "rows": whole}, required=["inputs", "rows"]),
    }
    plain["gemms"] = {
        "type": "array",
        "minItems": 1,
        "items": _closed(sizes, required=["m", "n", "k"]),
    }
    listed = {"properties": {"kind": {"const": "operations"}}, "required": ["kind"]}
    return {
        "type": "object",
        "if": listed,
        "then": {"$ref": "#/$defs/operations"},
        "else": {"$ref": "#/$defs/model"},
        "$defs": {"model": _closed(plain), "operations": schemas_of_lists.operations()},
    }


# ---- accelerators


def _accelerator() -> Schema:
    """The keys of the machine that `base` ends in; of any machine behind a file of one's own."""
    kinds = _presets()
    common = {key: {"type": "string"} for key in ("base", "description", "source", "name")}
    definitions = {
        name: _closed({**common, **_of(machine.fields)}) for name, machine in MACHINES.items()
    }
    definitions["hybrid"] = _hybrid(common)
    rules = [
        {
            "if": {"properties": {"base": {"enum": names}}, "required": ["base"]},
            "then": {"$ref": f"#/$defs/{kind}"},
        }
        for kind, names in kinds.items()
    ]
    known = sorted(name for names in kinds.values() for name in names)
    anything = [{"$ref": f"#/$defs/{name}"} for name in definitions]
    return {
        "type": "object",
        "properties": {
            "base": {
                "description": "a machine, a preset, or a file: FILE.yaml",
                "anyOf": [{"enum": known}, {"type": "string", "pattern": r"\.ya?ml$"}],
            }
        },
        "anyOf": [{"required": ["base"]}, {"required": ["units"]}],
        "allOf": [
            *rules,
            {
                "if": {"not": {"properties": {"base": {"enum": known}}, "required": ["base"]}},
                "then": {"anyOf": anything},
            },
        ],
        "$defs": definitions,
    }


def _presets() -> dict[str, list[str]]:
    """Kind of machine -> the bases that lead to it."""
    bases: dict[str, list[str]] = {name: [name] for name in MACHINES}
    for name in list_accelerators():
        machine = load_accelerator(name).machine
        kind = "hybrid" if machine.hybrid is not None else machine.name
        if name not in bases.setdefault(kind, []):
            bases[kind].append(name)
    return bases


def _hybrid(common: Mapping[str, Any]) -> Schema:
    unit = {
        "type": "object",
        "properties": {"base": {"type": "string"}},
        "additionalProperties": _any_setting(),
    }
    link = _closed(
        {
            "between": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 2,
                "maxItems": 2,
                "uniqueItems": True,
            },
            "source": {"type": "string"},
            **_of(schema("link")),
        },
        required=["between"],
    )
    return {
        "type": "object",
        "properties": {
            **common,
            "units": {
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"pattern": _ANY_NAME},
                "additionalProperties": unit,
            },
            "links": {"type": "array", "items": link},
            "assignment": _assignment(),
        },
        "patternProperties": {r"^(units|links)\.": _any_setting()},
        "additionalProperties": False,
    }


def _any_setting() -> Schema:
    return {"type": ["string", "number", "boolean"]}


def _assignment() -> Schema:
    patterns = {
        key: _one_or_list({"enum": list(CHOICES[key])} if key in CHOICES else {"type": "string"})
        for key in (*ATTRIBUTES, *ASKED)
    }
    rule = _closed({"match": _closed(patterns), "unit": _TEXT}, required=["unit"])
    return {"type": "array", "minItems": 1, "items": rule}


# ---- technology, plans


def _technology() -> Schema:
    number = {"type": ["number", "string"]}
    node = {
        "anyOf": [
            {"type": "number", "minimum": NODE_LOW, "maximum": NODE_HIGH},
            {"type": "string", "pattern": r"^\d*\.?\d*$"},
        ]
    }
    spread = {"anyOf": [number, {"const": ""}]}
    columns = {
        "part": _TEXT,
        "quantity": _TEXT,
        "value": number,
        "unit": _TEXT,
        "node_nm": node,
        "law": {"enum": ["", *LAWS]},
        "low": spread,
        "high": spread,
        "source": _TEXT,
        "evidence": {"enum": list(EVIDENCE)},
        "verified": {"enum": ["", "yes", "two", "no", True, False]},
        "note": {"type": "string"},
        "looked_for": {"type": "string"},
    }
    needed = ("part", "quantity", "value", "unit", "node_nm", "source", "evidence")
    return schemas_of_lists.rows(columns, needed, "a table of constants")


def _plan() -> Schema:
    whole = {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": QUANTITY}]}
    amount: Schema = {"type": ["number", "string"]}
    phase = dict.fromkeys(PHASE, _TEXT) | dict.fromkeys(LENGTHS, amount)
    phase |= {"steps": whole, "assignment": _assignment()}
    switch = dict.fromkeys(SWITCH, amount) | {"source": {"type": "string"}}
    shared = {k: f for k, f in schema("workload").items() if k not in ("mode", "trainable")}
    keys: Schema = dict.fromkeys(KEYS, _TEXT)
    keys |= {
        "workload": _closed(_of(shared)),
        "phases": {
            "type": "array",
            "minItems": 1,
            "items": _closed(
                phase,
                required=["accelerator"],
                oneOf=[{"required": [length]} for length in LENGTHS],
            ),
        },
        "switch": _closed(switch, required=["step"]),
        "sequences": whole,
    }
    return _closed(keys, required=["model", "phases"])


# ---- spaces


def _space() -> Schema:
    rows = read_rows(DATA / "space_keys.csv")
    kinds: dict[str, Schema] = {
        "text": dict(_TEXT),
        "settings": _closed(_parameters(schema("workload"))),
        "workloads": _map_of(_closed(_of(schema("workload")))) | {"minProperties": 1},
        "conditions": _one_or_list(_TEXT) | {"examples": [["area_mm2 <= 858"]]},
        "definitions": _map_of({"type": ["string", "number"]}),
        "directions": _map_of({"enum": ["min", "max"]}) | {"minProperties": 1},
        "values": _map_of({"type": ["string", "number"]}),
        "names": _one_or_list(_TEXT),
        "accuracy": {"anyOf": [_TEXT, {"type": "object"}]},
        "run": {"type": "object"},
    }
    keys: Schema = {}
    for row in rows:
        key, kind = row["key"], row["kind"]
        held = _section(key) if kind == "section" else kinds[kind]
        keys[key] = {**held, "description": row["description"]}
    for key in ("where", "constraints", "record"):  # none is said by an empty list
        keys[key]["anyOf"][1]["minItems"] = 0
    complete = {"required": ["model", "accelerator", "objectives"]}
    return _closed(keys, anyOf=[complete, {"required": ["extends"]}])


def _map_of(entry: Schema) -> Schema:
    return {"type": "object", "additionalProperties": entry}


def _section(key: str) -> Schema:
    """A base by name, a mapping with a base, or a list of both."""
    if key == "model":
        keys = _parameters(schema("model")) | _lists()
        patterns = {
            r"^layer\d+\.[a-z_]+\d*$": parameter({"type": ["string", "number"]}),
        }
    else:
        fields = {k: f for machine in MACHINES.values() for k, f in machine.fields.items()}
        keys = {  # machines differ in the range of a key
            k: parameter(_any_setting()) | {"description": f.description} for k, f in fields.items()
        }
        patterns = {
            r"^(units|links)\.[a-z0-9_-]+\.[a-z0-9_]+$": parameter(_any_setting()),
            r"^workload\.[a-z_]+$": parameter(_any_setting()),
        }
    entry = {
        "type": "object",
        "properties": {"base": _one_or_list(_TEXT), **keys},
        "patternProperties": patterns,
        "additionalProperties": False,
        "required": ["base"],
    }
    return _one_or_list({"anyOf": [_TEXT, entry]})


def _lists() -> Schema:
    """Lists that stand for each layer of the base flexibert."""
    widths = parameter(value(schema("model")["feed_forward"]))
    stacks = _closed(
        {
            "stacks": {"type": "integer", "minimum": 1, "maximum": STACKS},
            "choices": {"type": "array", "minItems": 1},
        },
        required=["choices"],
    )
    return {
        "head_types": _one_or_list({"enum": list(HEAD_TYPES)}),
        "feed_forward": {"anyOf": [widths, stacks]},
    }


def _parameters(fields: Mapping[str, Field]) -> Schema:
    return {
        key: parameter(value(field)) | {"description": field.description}
        for key, field in fields.items()
    }


def parameter(entry: Schema) -> Schema:
    """A value, a list of values, a range, or multiples of another parameter.

    entry : the JSON Schema of one value.
    """
    plain = {k: v for k, v in entry.items() if k not in ("description", "default")}
    factors = {"type": "array", "items": {"type": ["number", "string"]}, "minItems": 1}
    span = _closed(
        {
            "low": plain,
            "high": plain,
            "steps": {"type": "integer", "minimum": 2},
            "log": {"type": "boolean"},
        },
        required=["low", "high"],
    )
    several = _closed({"multiple_of": _TEXT, "choices": factors}, required=["choices"])
    choices = {"type": "array", "items": plain, "minItems": 1}
    return {"anyOf": [plain, choices, span, several]}
