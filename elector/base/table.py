"""Columns of values, schema files, and careful readers of text, CSV, JSON and YAML.

A search holds millions of designs but few distinct values: a `Column` keeps the distinct
values and a code for each design, so that a unit is parsed once per distinct value.
A schema file (data/schema/*.csv) names each key with its type, unit, default and bounds;
code and documentation read the same file.
"""

from __future__ import annotations

import csv
import functools
import io
import math
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import spelling, units
from elector.base.choices import DATA as DATA
from elector.base.choices import choices
from elector.base.errors import InputError
from elector.base.paths import LIMIT, line_of_bad_text, read_bytes, read_text, require_no_binary

#: Deepest nesting of a YAML file: a design needs four levels; most marks and values in it.
_DEPTH, _EVENTS = 50, 250_000
#: Whole numbers that YAML 1.1 reads in base 8, and YAML 1.2 and everybody else in base 10.
_OCTAL = re.compile(r"[-+]?0[0-7_]+")

#: Share of distinct combinations from which on all are kept apart.
_FEW_TWICE = 0.75
#: Whole numbers below so many times their number are counted instead of sorted.
_DENSE = 8
#: From so many values on `distinct` looks at a sample first.
_MANY = 4096

Scalar = int | float | str | bool
#: What a setting does to the accuracy of a model: column `accuracy` of a schema.
NEUTRAL, CHANGES = "neutral", "changes"


def distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted distinct values, first place of each, and (D,) index of each value into them.

    numpy's own `unique` imports its masked arrays at first use, which would take a fifth of the
    start of a command.
    """
    if values.size and (values == values[0]).all():
        return values[:1], np.zeros(1, dtype=np.intp), np.zeros(values.size, dtype=np.intp)
    if values.dtype.kind == "i" and values.size:
        most = int(values.max())
        if most < _DENSE * values.size and values.min() >= 0:
            return _counted(values, most)
    if values.size >= _MANY and (few := _few(values)) is not None:
        return few
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    new = np.ones(ordered.size, dtype=bool)
    new[1:] = ordered[1:] != ordered[:-1]
    inverse = np.empty(ordered.size, dtype=np.intp)
    inverse[order] = np.cumsum(new) - 1
    return ordered[new], order[new], inverse


def _counted(values: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`distinct` of whole numbers from 0 to `most`, without sorting."""
    there = np.zeros(most + 1, dtype=bool)
    there[values] = True
    different = np.flatnonzero(there)
    inverse = (np.cumsum(there) - 1)[values]
    return different.astype(values.dtype), _first(inverse, different.size), inverse


def _first(inverse: np.ndarray, size: int) -> np.ndarray:
    """First place of each of `size` values; inverse (D,) : which of them each is."""
    first = np.empty(size, dtype=np.intp)
    first[inverse[::-1]] = np.arange(inverse.size - 1, -1, -1)  # the last one written stays
    return first


def _few(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """`distinct` without sorting all of them, where a sample holds every value there is."""
    sample = np.sort(values[:: values.size // 512])
    new = np.ones(sample.size, dtype=bool)
    new[1:] = sample[1:] != sample[:-1]
    different = sample[new]
    if different.size > 64:
        return None
    inverse = np.minimum(np.searchsorted(different, values), different.size - 1)
    if (different[inverse] != values).any():
        return None
    return different, _first(inverse, different.size), inverse


def combinations(columns: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """First place of each distinct combination of values, and the (D,) index of each design.

    Where few are found twice, each design is taken as it stands: telling the few apart would
    cost more than it saves.

    columns : (D,) codes each.
    """
    first, size = columns[0], columns[0].size
    if (first[1:] > first[:-1]).all():  # nothing twice
        return np.arange(size), np.arange(size)
    key = np.zeros(first.shape, dtype=np.int64)
    for values in columns:
        if (values == values[0]).all():
            continue
        _, _, codes = distinct(values)
        key = key * (int(codes.max()) + 1) + codes
        if int(key.max()) > 2**31:
            key = distinct(key)[2]
    _, places, index = distinct(key)
    if places.size > _FEW_TWICE * size:
        return np.arange(size), np.arange(size)
    return places, index


def alike(rows: np.ndarray, keys: Sequence[Hashable], tables: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) place among `rows` of the first one with the same key and the same numbers.

    rows : (N,) rows of the tables. keys : N of them. tables : (R, M) each.
    """
    # Rows that differ mostly do so in a few of their columns already.
    step = max(tables[0].shape[1] // 16, 1)
    samples = np.concatenate([table[rows, ::step] for table in tables], axis=1)
    first, seen = np.arange(rows.size), dict[Hashable, list[int]]()
    for i, key in enumerate(keys):
        others = seen.setdefault((key, samples[i].tobytes()), [])
        for j in others:
            if all((table[rows[i]] == table[rows[j]]).all() for table in tables):
                first[i] = j
                break
        else:
            others.append(i)
    return first


def columns(values: np.ndarray, index: np.ndarray) -> np.ndarray:
    """values[:, index]; the array itself where that is all of it, in order.

    values : (R, N). index : (D,) places along the second axis.
    """
    whole = index.size == values.shape[1] and bool((index == np.arange(index.size)).all())
    # Of all ways to gather columns the fastest by far, without a look for places outside.
    return values if whole else values.take(index, axis=1, mode="clip")


@dataclass(frozen=True)
class Column:
    """D values as distinct values and a code for each.

    values : the distinct values; None means not set, so the default holds.
    codes : (D,) intp, index into values.
    """

    values: tuple[object, ...]
    codes: np.ndarray

    @classmethod
    def constant(cls, value: object, size: int) -> Column:
        """`size` times the same value."""
        return cls((value,), np.zeros(size, dtype=np.intp))

    @classmethod
    def of(cls, sequence: Sequence[object] | np.ndarray) -> Column:
        """The column that holds `sequence`; 1, 1.0 and True stay distinct."""
        if isinstance(sequence, np.ndarray) and sequence.dtype != object:
            distinct_values, _, codes = distinct(sequence)
            return cls(tuple(distinct_values.tolist()), codes)
        seen: dict[object, int] = {}
        values: list[object] = []
        codes = np.empty(len(sequence), dtype=np.intp)
        for row, value in enumerate(sequence):
            code = seen.setdefault(_identity(value), len(values))
            if code == len(values):
                values.append(value)
            codes[row] = code
        return cls(tuple(values), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> object:
        return self.values[self.codes[row]]

    def take(self, index: np.ndarray | slice) -> Column:
        """The rows of `index`: (N,) integers, a (D,) mask or a slice."""
        return Column(self.values, self.codes[index])

    def compact(self) -> Column:
        """The same column without the values that no row uses."""
        used = np.bincount(self.codes, minlength=len(self.values)) > 0
        if used.all():
            return self
        renumber = np.cumsum(used, dtype=np.intp) - 1
        kept = tuple(v for v, keep in zip(self.values, used, strict=True) if keep)
        return Column(kept, renumber[self.codes])

    def map(self, function: Callable[[Any], object], dtype: Any = None) -> np.ndarray:
        """(D,) `function` of each value, called once per distinct value.

        dtype : of the result.
        """
        per_value = np.asarray([function(v) for v in self.values], dtype=dtype)
        return np.take(per_value, self.codes, axis=0)


def _identity(value: object) -> object:
    """A key under which equal values of one type are the same, NaN included."""
    if isinstance(value, float) and math.isnan(value):
        return (float, "nan")
    try:
        hash(value)
    except TypeError:
        return (type(value), repr(value))
    return (type(value), value)


@dataclass(frozen=True)
class Field:
    """One row of a schema: what a key may hold.

    type : int | float | choice | bool | text.
    unit : of a bare number; "1" for a count or a ratio, "" where there is none.
    default : None where another source decides.
    low, high : inclusive bounds in SI, or None.
    accuracy : NEUTRAL where no value of it can change what a model scores; CHANGES otherwise, and
        where nobody has looked.
    applies : where the key has an effect (elector.evaluation.applies); "" for everywhere.
    fixed : why a search may not choose among values of it; "" where it may. An optimiser takes
        whatever costs nothing.
    """

    key: str
    type: str
    unit: str
    default: Scalar | None
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    description: str
    accuracy: str = CHANGES
    applies: str = ""
    fixed: str = ""

    def parse(self, value: object, *, file: object = None, field: str | None = None) -> Scalar:
        """`value` checked and in SI (a technology node in nm); None gives the default.

        `field` is the name to report where it is not the key alone ("accelerator.rows").
        """
        name = field or self.key
        if value is None:
            if self.default is None:
                raise InputError("needs a value", file=file, field=name)
            return self.default
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, str):
            value = value.strip()
            if not value:
                raise InputError("is empty", file=file, field=name)
        return _PARSERS[self.type](self, value, name, file)


def _parse_number(field: Field, value: object, name: str, file: object) -> Scalar:
    counts = field.type == "int"
    number = units.parse(value, field.unit or "1", field=name, file=file, counts=counts)
    if field.low is not None and number < field.low:
        raise InputError(
            f"must be at least {_bound(field, field.low)}", file=file, field=name, value=value
        )
    if field.high is not None and number > field.high:
        raise InputError(
            f"must be at most {_bound(field, field.high)}", file=file, field=name, value=value
        )
    return number


def _parse_int(field: Field, value: object, name: str, file: object) -> Scalar:
    number = _parse_number(field, value, name, file)
    if number != int(number):
        raise InputError("must be a whole number", file=file, field=name, value=value)
    if field.choices and str(int(number)) not in field.choices:
        raise InputError(
            "unknown choice", file=file, field=name, value=value, allowed=field.choices
        )
    return int(number)


def _parse_choice(field: Field, value: object, name: str, file: object) -> Scalar:
    # YAML reads `true` as a boolean where the choices may be auto, true and false
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str) or text not in field.choices:
        raise InputError(
            "unknown choice", file=file, field=name, value=value, allowed=field.choices
        )
    return text


def _parse_bool(field: Field, value: object, name: str, file: object) -> Scalar:
    text = str(value).lower()
    if text not in ("true", "false"):
        raise InputError(
            "must be true or false", file=file, field=name, value=value, allowed=("true", "false")
        )
    return text == "true"


def _parse_text(field: Field, value: object, name: str, file: object) -> Scalar:
    if not isinstance(value, str):
        raise InputError("must be text", file=file, field=name, value=value)
    return value


_PARSERS: dict[str, Callable[[Field, object, str, object], Scalar]] = {
    "int": _parse_int,
    "float": _parse_number,
    "choice": _parse_choice,
    "bool": _parse_bool,
    "text": _parse_text,
}


def _bound(field: Field, bound: float) -> str:
    if field.unit in ("", "1"):
        return f"{bound:g}"
    return units.format_si(bound, field.unit)


@functools.cache
def schema(name: str) -> dict[str, Field]:
    """Fields of data/schema/<name>.csv by key."""
    return {row["key"]: _field(row) for row in read_rows(DATA / "schema" / f"{name}.csv")}


def _field(row: dict[str, str]) -> Field:
    unit = row["unit"]

    def bound(text: str) -> float | None:
        return units.parse(text, unit or "1", field=row["key"]) if text else None

    field = Field(
        key=row["key"],
        type=row["type"],
        unit=unit,
        default=None,
        low=bound(row["low"]),
        high=bound(row["high"]),
        choices=choices(row["choices"]),
        description=row["description"],
        accuracy=row.get("accuracy") or CHANGES,
        applies=row.get("applies", ""),
        fixed=row.get("fixed", ""),
    )
    # an empty default means that another source decides, so it stays None
    return replace(field, default=field.parse(row["default"])) if row["default"] else field


#: Other tables -> how they begin; and bytes of a file that are looked at.
_NO_CSV = {"JSON": rb"\{\s*(\"|\}|$)|\[\s*(\{|\[|\"|$)", "a Parquet file": rb"PAR1"}
_START = 4096


def read_csv(path: str | Path, limit: int = LIMIT) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows of a CSV file: (names, [(line number, cells), ...]), cells stripped.

    Blank lines are skipped. The number of cells is the caller's to check, since some
    writers end each line with a comma.

    limit : most bytes of the file.
    """
    lines = [(line, [cell.strip() for cell in cells]) for line, cells in csv_lines(path, limit)]
    if not lines:
        raise InputError("is empty", file=path)
    return lines[0][1], lines[1:]


def require_once(names: Sequence[str], path: object) -> None:
    """Refuses a header that has a name twice: which of the two was meant?

    names : of the columns; empty ones may repeat. path : the file, for the message.
    """
    if (twice := first_repeated(name for name in names if name)) is not None:
        raise InputError("line 1: column given twice", file=path, field=twice)


def first_repeated(names: Iterable[str]) -> str | None:
    """The first name that an earlier one is like; None where all differ.

    names : of the columns, as many as a file may have.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table of our own, each name -> cell: all are as long as the header.

    path : of the table.
    """
    names, lines = read_csv(path)
    return [dict(zip(names, cells, strict=True)) for _, cells in lines]


def csv_lines(
    path: str | Path, limit: int = LIMIT, data: bytes | None = None
) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of each row of a CSV file, header first, cells as they stand.

    Blank lines are skipped. Rows are read one by one: the file is held as its bytes only.
    data : what the file holds, where it was read already.

    limit : most bytes of the file.
    """
    data = read_bytes(path, limit) if data is None else data
    for kind, start in _NO_CSV.items():
        if re.match(start, data[:_START].removeprefix(b"\xef\xbb\xbf").lstrip()):
            raise InputError(f"is {kind}, not a table of comma-separated values", file=path)
    require_no_binary(data, path)
    stream = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(stream, strict=True)
    header = True
    try:
        for cells in reader:
            if cells and "".join(cells).strip():
                if header:
                    _require_commas(cells, reader.line_num, path)
                header = False
                yield reader.line_num, cells
    except UnicodeDecodeError:
        line = line_of_bad_text(data)
        raise InputError(f"line {line}: is not UTF-8 text", file=path) from None
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: {error}", file=path) from None


def _require_commas(header: list[str], line: int, path: str | Path) -> None:
    """Refuses a header whose cells are divided as spreadsheets of some countries do it."""
    for name, sign in (("semicolons", ";"), ("tabs", "\t")):
        if len(header) == 1 and sign in header[0].strip():
            said = f"line {line}: columns are separated by {name}; commas are needed"
            raise InputError(said, file=path)


def load_json(path: str | Path, limit: int = LIMIT, *, finite: bool = True) -> object:
    """The value of a JSON file; duplicate keys, NaN and bad syntax are InputErrors.

    limit : bytes of the largest file. finite : refuse Infinity, too, which some programs write.
    """
    import json

    constant = functools.partial(_no_constant, path, finite)
    try:
        text = read_text(path, limit)
        value = json.loads(
            text,
            object_pairs_hook=functools.partial(_unique_pairs, path),
            parse_constant=constant,
        )
    except json.JSONDecodeError as error:
        raise InputError(
            f"line {error.lineno}: is not valid JSON: {error.msg}", file=path
        ) from None
    except RecursionError:
        raise InputError("is nested too deeply", file=path) from None
    except ValueError:  # Python reads no whole number of more than some thousand digits
        raise InputError(
            f"{_long_number(text)}is not valid JSON: a number has too many digits", file=path
        ) from None
    spelling.require_text(value, path, text)
    return value


def _long_number(text: str) -> str:
    """Where a text has a whole number of more digits than Python reads, as a message begins."""
    most = sys.get_int_max_str_digits()
    number = re.search(rf"\d[\d_]{{{most},}}", text)
    return f"line {text.count(chr(10), 0, number.start()) + 1}: " if number else ""


def _unique_pairs(path: object, pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for key, value in pairs:
        if key in result:
            raise InputError("duplicate key", file=path, field=key)
        result[key] = value
    return result


def _no_constant(path: object, finite: bool, text: str) -> float:
    if finite or text == "NaN":
        raise InputError("must be finite", file=path, value=text)
    return float(text)


def load_yaml(path: str | Path) -> object:
    """The value of a YAML file of plain mappings, lists, numbers, text and booleans.

    Duplicate keys, tags, anchors and aliases (which can blow up a file without bound),
    deep nesting and several documents are InputErrors with file and line.
    """
    return parse_yaml(read_text(path), path)


def parse_yaml(text: str, file: object = None) -> object:
    """`load_yaml` of text already in memory; `file` names it in errors."""
    import yaml

    try:
        _check_events(text, file)
        value = yaml.load(text, Loader=_yaml_loader())  # a SafeLoader: see _yaml_loader
    except yaml.YAMLError as error:
        raise InputError(
            f"{_yaml_line(error)}is not valid YAML: {_yaml_problem(error)}", file=file
        ) from None
    except (ValueError, OverflowError) as error:  # such as the date 2026-99-99
        where = _long_number(text)
        said = "a number has too many digits" if where else str(error)
        raise InputError(f"{where}is not valid YAML: {said}", file=file) from None
    if value is None:
        raise InputError("is empty", file=file)
    spelling.require_text(value, file, text)
    return value


def _check_events(text: str, file: object) -> None:
    """Refuse what a description never needs, before anything is built from it."""
    import yaml

    depth = documents = 0
    for count, event in enumerate(yaml.parse(text, Loader=_yaml_loader())):
        where = f"line {event.start_mark.line + 1}: " if event.start_mark else ""
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise InputError(f"{where}YAML anchors and aliases are not accepted", file=file)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise InputError(f"{where}YAML tags are not accepted", file=file, value=tag)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if count > _EVENTS:
            raise InputError(f"{where}holds more than {_EVENTS:,} values", file=file)
        if depth > _DEPTH:
            raise InputError(f"{where}is nested more than {_DEPTH} levels deep", file=file)
        if documents > 1:
            raise InputError(f"{where}holds more than one YAML document", file=file)


@functools.cache
def _yaml_loader() -> Any:
    """The C loader where it is built, with duplicate keys refused."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class UniqueKeyLoader(base):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[object] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    raise yaml.constructor.ConstructorError(
                        None, None, "a key must be plain text", key_node.start_mark
                    )
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"duplicate key {key!r}", key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

        def construct_yaml_int(self, node: Any) -> Any:
            if _OCTAL.fullmatch(node.value):
                said = f"{node.value} is in base 8 to some readers and in base 10 to others"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
            return node.value if ":" in node.value else super().construct_yaml_int(node)

        def construct_yaml_float(self, node: Any) -> Any:
            return node.value if ":" in node.value else super().construct_yaml_float(node)

    # YAML 1.1 reads 1:30 as 90; of a long one that takes hours, and nobody means it.
    for kind in ("int", "float"):
        construct = getattr(UniqueKeyLoader, f"construct_yaml_{kind}")
        UniqueKeyLoader.add_constructor(f"tag:yaml.org,2002:{kind}", construct)
    return UniqueKeyLoader


def _yaml_line(error: Any) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"line {mark.line + 1}: " if mark is not None else ""


def _yaml_problem(error: Any) -> str:
    return str(getattr(error, "problem", None) or getattr(error, "reason", None) or error)
