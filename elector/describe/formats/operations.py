"""Operation lists: YAML with `kind: operations` -> a model of family operations.

    kind: operations
    symbols: {patches: 197}
    parameters: 86567656
    operations:
    - {name: query, m: batch * length, k: 768, n: 768, count: 12}
    - {name: probabilities, operation: softmax, elements: 12 * batch * length ** 2, count: 12}

docs/operation-lists.md says what every key means.
"""

from __future__ import annotations

import functools
import keyword
from collections.abc import Mapping
from typing import Any

from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from elector.describe.formats.described import check_keys, whole
from elector.describe.listing import OPERANDS, OUTPUTS, PRODUCT, VECTOR, WORKLOAD, Listed, Listing
from elector.describe.model import Model
from elector.describe.sizes import LARGEST, size

#: Rows of a list that are kept: more than any model has after like ones are joined.
MOST = 20_000
FILE_KEYS = ("kind", "name", "source", "symbols", "parameters", "operations")
COMMON = ("name", "layer", "count", "a", "b", "out")


@functools.cache
def functions() -> tuple[str, ...]:
    """What vector work of a list may be: the forward rows of data/vector_operations.csv."""
    names, rows = read_csv(DATA / "vector_operations.csv")
    place = names.index("operation")
    listed = [cells[place] for _, cells in rows]
    updates = ("accumulate", "sgd", "momentum", "adam", "adamw", "lamb", "loss")
    return tuple(n for n in listed if not n.endswith("_backward") and n not in updates)


def from_listing(data: Mapping[str, Any], name: str, file: object) -> Model:
    """The model that an operation list describes.

    data : the mapping of the file. name : what to call it where the file does not.
    file : for errors. Raises InputError naming the entry and the key.
    """
    check_keys(data, FILE_KEYS, file)
    symbols = _symbols(data.get("symbols"), file)
    listed = data.get("operations")
    if not isinstance(listed, list) or not listed:
        raise InputError("must be a list of operations", file=file, field="operations")
    if len(listed) > MOST:
        raise InputError(f"holds more than {MOST:,} operations", file=file, field="operations")
    known = (*WORKLOAD, *symbols)
    entries = tuple(_entry(entry, i, dict.fromkeys(known), file) for i, entry in enumerate(listed))
    total = None
    if "parameters" in data:
        total = whole({**data}, "parameters", file, int(LARGEST)) if data["parameters"] else 0
    listing = Listing(entries, tuple(symbols.items()), total, file)
    text = {key: _text(data, key, file, "") for key in ("name", "source")}
    return Model(
        text["name"] or name, "operations", source=text["source"], head="none", listing=listing
    )


def _symbols(value: object, file: object) -> dict[str, int]:
    """The list's own symbols with their values."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError("must be a mapping of names to numbers", file=file, field="symbols")
    values = {}
    for name in value:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise InputError("is not a name", file=file, field="symbols", value=name)
        if name in (*WORKLOAD, "min", "max", "ceil"):
            raise InputError(
                f"{name} has a meaning of its own",
                file=file,
                field=f"symbols.{name}",
                hint="batch is workload.batch, length is workload.sequence_length",
            )
        values[name] = whole(value, name, file, field=f"symbols.{name}")
    return values


def _entry(data: object, index: int, symbols: dict[str, None], file: object) -> Listed:
    where = f"operations[{index}]"
    if not isinstance(data, dict):
        raise InputError("must be a mapping", file=file, field=where, value=data)
    product = "operation" not in data
    own = PRODUCT if product else ("operation", *VECTOR)
    check_keys(data, (*COMMON, *own), file, where)
    needed = ("m", "k", "n") if product else ("elements",)
    missing = [key for key in needed if key not in data]
    if missing:
        raise InputError(
            "is missing",
            file=file,
            field=f"{where}.{missing[0]}",
            hint="a product has m, k, n; vector work has operation and elements",
        )
    sizes = tuple(
        (key, size(data[key], symbols, file, f"{where}.{key}"))
        for key in (PRODUCT if product else VECTOR)
        if key in data
    )
    function = "" if product else _choice(data, "operation", functions(), "", file, where)
    name = _text(data, "name", file, function or f"product {index + 1}", where)
    return Listed(
        name,
        _text(data, "layer", file, name, where),
        function,
        sizes,
        size(data.get("count", 1), symbols, file, f"{where}.count"),
        a=_choice(data, "a", OPERANDS, "activation", file, where),
        b=_choice(data, "b", (*OPERANDS, "none"), "weight" if product else "none", file, where),
        out=_choice(data, "out", OUTPUTS, "activation", file, where),
    )


def _choice(
    data: Mapping[str, Any], key: str, allowed: tuple[str, ...], usual: str, file: object, at: str
) -> str:
    value = data.get(key, usual)
    if value not in allowed:
        raise InputError(
            "unknown choice", file=file, field=f"{at}.{key}", value=value, allowed=allowed
        )
    return str(value)


def _text(data: Mapping[str, Any], key: str, file: object, usual: str, at: str = "") -> str:
    value = data.get(key, usual)
    if not isinstance(value, str | int) or isinstance(value, bool):
        field = f"{at}.{key}" if at else key
        raise InputError("must be a text", file=file, field=field, value=value)
    return str(value)
