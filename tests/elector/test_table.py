"""Columns, schemas and the readers of text, CSV, JSON and YAML."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from commands import run

from elector.base.errors import InputError
from elector.base.table import (
    CHANGES,
    DATA,
    LIMIT,
    NEUTRAL,
    Column,
    Field,
    distinct,
    load_json,
    load_yaml,
    parse_yaml,
    read_csv,
    read_text,
    schema,
)


def test_a_column_keeps_each_value_once() -> None:
    column = Column.of(["ws", "os", "ws", None, "ws"])
    assert column.values == ("ws", "os", None)
    assert column.codes.tolist() == [0, 1, 0, 2, 0]
    assert len(column) == 5
    assert [column[i] for i in range(5)] == ["ws", "os", "ws", None, "ws"]


def test_equal_values_of_different_types_stay_apart() -> None:
    assert Column.of([1, 1.0, True, "1"]).values == (1, 1.0, True, "1")
    nan = float("nan")
    assert len(Column.of([nan, float("nan"), 1.0]).values) == 2
    assert len(Column.of([[1], [1], [2]]).values) == 2


def test_a_column_of_an_array() -> None:
    column = Column.of(np.array([3, 1, 3]))
    assert column.values == (1, 3)
    assert column.codes.tolist() == [1, 0, 1]
    assert all(isinstance(value, int) for value in column.values)


def test_take_map_and_compact() -> None:
    column = Column.of(["a", "b", "c", "a"])
    part = column.take(np.array([3, 1]))
    assert [part[0], part[1]] == ["a", "b"]
    assert part.compact().values == ("a", "b")
    assert part.compact()[1] == "b"
    calls: list[str] = []

    def length(text: str) -> int:
        calls.append(text)
        return len(text)

    assert column.map(length, dtype=float).tolist() == [1.0] * 4
    assert calls == ["a", "b", "c"]
    assert Column.constant(7, 3).take(slice(0, 2)).map(float).tolist() == [7.0, 7.0]


@pytest.mark.parametrize("path", sorted((DATA / "schema").glob("*.csv")), ids=lambda p: p.stem)
def test_every_schema_is_well_formed(path: Path) -> None:
    for key, field in schema(path.stem).items():
        assert field.type in {"int", "float", "choice", "bool", "text"}, key
        assert field.description, key
        assert bool(field.choices) == (field.type == "choice") or field.type == "int", key
        if field.default is not None:
            assert field.parse(field.default) == field.default, key


@pytest.mark.parametrize("path", sorted((DATA / "schema").glob("*.csv")), ids=lambda p: p.stem)
def test_every_setting_says_what_it_does_to_an_accuracy(path: Path) -> None:
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            assert row["accuracy"] in (NEUTRAL, CHANGES), row["key"]
            assert row["accuracy"] == NEUTRAL or row["accuracy_reason"], row["key"]
            assert schema(path.stem)[row["key"]].accuracy == row["accuracy"]


def test_a_setting_that_nobody_looked_at_changes_an_accuracy() -> None:
    assert Field("new", "int", "1", 1, 1, 2, (), "added by hand").accuracy == CHANGES


def field(name: str, key: str, **changes: object):  # type: ignore[no-untyped-def]
    return dataclasses.replace(schema(name)[key], **changes)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("rows", 128, 128),
        ("rows", "128", 128),
        ("rows", 128.0, 128),
        ("rows", np.int64(128), 128),
        ("rows", None, 128),
        ("sram", "4 MiB", 2.0**22),
        ("clock", "1 GHz", 1e9),
        ("node", 7, 7.0),
        ("dataflow", "os", "os"),
        ("training_support", True, "true"),
        ("fuse", "False", False),
        ("fuse", True, True),
    ],
)
def test_values_are_parsed_by_their_field(key: str, value: object, expected: object) -> None:
    parsed = schema("systolic")[key].parse(value)
    assert parsed == expected
    assert type(parsed) is type(expected)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("rows", 0, "at least 1"),
        ("rows", -4, "at least 1"),
        ("rows", 1.5, "whole number"),
        ("rows", "many", "not a number"),
        ("rows", True, "not a number"),
        ("rows", float("nan"), "finite"),
        ("rows", "", "is empty"),
        ("rows", [1], "not a number"),
        ("rows", 1e9, "at most"),
        ("sram", "4 GHz", "not in byte"),
        ("sram", "1 B", "at least 1.02 kB"),
        ("dataflow", "xs", "allowed: ws, os, is"),
        ("dataflow", 3, "unknown choice"),
        ("fuse", "perhaps", "true or false"),
        ("fuse", 1, "true or false"),
    ],
)
def test_bad_values_are_refused_with_file_and_field(key: str, value: object, problem: str) -> None:
    with pytest.raises(InputError) as caught:
        schema("systolic")[key].parse(value, file="tpu.yaml", field=f"accelerator.{key}")
    assert f"tpu.yaml: accelerator.{key}" in str(caught.value)
    assert problem in str(caught.value)


def test_a_field_without_a_default_needs_a_value() -> None:
    with pytest.raises(InputError, match="needs a value"):
        schema("model")["hidden"].parse(None)


def test_text_fields_take_text_only() -> None:
    assert schema("workload")["task"].parse("sst2") == "sst2"
    with pytest.raises(InputError, match="must be text"):
        schema("workload")["task"].parse(3)


def refused(path: Path, problem: str) -> None:
    """Every reader of text refuses the file, naming it."""
    for reader in (load_yaml, load_json, read_csv, read_text):
        with pytest.raises(InputError, match=problem) as caught:
            reader(path)
        assert str(path) in str(caught.value)


def test_a_directory_a_missing_a_binary_a_truncated_and_a_huge_file(tmp_path: Path) -> None:
    refused(tmp_path, "is a directory")
    refused(tmp_path / "absent.yaml", "No such file")
    path = tmp_path / "input"
    path.write_bytes(b"\x89PNG\r\n\0\0")
    refused(path, "binary")
    path.write_bytes("name: é".encode()[:-1])
    refused(path, "line 1: is not UTF-8")
    path.write_bytes(b" " * (LIMIT + 1))
    refused(path, "larger than 1.05 MB")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbflayers: 2\n")
    assert load_yaml(path) == {"layers": 2}


def test_plain_yaml_is_read() -> None:
    text = "a: 1\nb: [2, x, true, 1.5]\nc: {d: null}\nyes it is: text\n"
    assert parse_yaml(text) == {
        "a": 1,
        "b": [2, "x", True, 1.5],
        "c": {"d": None},
        "yes it is": "text",
    }


BOMB = "a: &a [x, x]\n" + "\n".join(f"b{i}: &b{i} [*a, *a]" for i in range(9))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: is not valid YAML: duplicate key 'a'"),
        ("x:\n  a: 1\n  a: 1\n", "line 3: .*duplicate key"),
        ("1: a\ntrue: b\n", "line 1: .*a key must be plain text"),
        (BOMB, "line 1: YAML anchors and aliases"),
        ("a: *b", "line 1: YAML anchors"),
        ("a: !!python/object/apply:os.system ['true']", "line 1: YAML tags"),
        ("a: !thing 3", "YAML tags"),
        ("a: !!set {x, y}", "YAML tags"),
        ("[" * 500 + "]" * 500, "nested more than"),
        ("[" * 5000 + "]" * 5000, "nest"),  # PyYAML 6.0.4 has a limit of its own
        ("a: 1\n---\nb: 2\n", "line 2: holds more than one"),
        ("a: [1, 2", "is not valid YAML"),
        ("a: 'open", "is not valid YAML"),
        ("a: b: c", "line 1: is not valid YAML"),
        ("? [1, 2]\n: 3\n", "a key must be plain text"),
        ("? {a: 1}\n: 3\n", "a key must be plain text"),
        ("a: 2026-99-99", "is not valid YAML"),
        ("a: \x01", "is not valid YAML"),
        ("", "is empty"),
        ("# nothing but a comment\n", "is empty"),
    ],
)
def test_bad_yaml_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        parse_yaml(text, "input.yaml")
    assert str(caught.value).startswith("input.yaml: ")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1, "a": 2}', "a: duplicate key"),
        ('{"a": NaN}', "must be finite"),
        ('{"a": 1,\n', "line 2: is not valid JSON"),
        ("", "is not valid JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_json_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=problem):
        load_json(path)


def test_csv_rows_know_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('a, b\n\n1 ,"2,\n3"\n , \n4,5,\n')
    header, rows = read_csv(path)
    assert header == ["a", "b"]
    assert rows == [(4, ["1", "2,\n3"]), (6, ["4", "5", ""])]
    path.write_text('a,b\n1,"2')
    with pytest.raises(InputError, match="line 2"):
        read_csv(path)
    path.write_text("\n \n")
    with pytest.raises(InputError, match="is empty"):
        read_csv(path)


@pytest.mark.parametrize(
    ("data", "kind"),
    [(b'[{"model": 1}]', "JSON"), (b'\xef\xbb\xbf\n {"a": 1}', "JSON"), (b"PAR1\0\0", "a Parquet")],
)
def test_tables_of_other_kinds_are_named(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    with pytest.raises(InputError, match=f"is {kind}.*, not a table of comma-separated values"):
        read_csv(path)
    table = ["sweep", str(path), "--out", str(tmp_path / "o.csv")]
    for words in (table, ["validate", "--data", str(path)]):
        said = run(*words)
        assert said.exit_code == 2 and f"a.csv: is {kind}" in said.stderr, words


@pytest.mark.parametrize("name", ["[a]", "{id}", "[1"])
def test_a_header_may_begin_as_json_does(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"{name},b\n1,2\n")
    assert read_csv(path) == ([name, "b"], [(2, ["1", "2"])])


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).integers(0, 7, 10_000),
        np.random.default_rng(0).integers(0, 40_000, 10_000),
        np.random.default_rng(0).integers(-40, 40_000, 10_000),
        np.random.default_rng(1).normal(size=10_000),
        np.append(np.zeros(9_999), 1.0),  # a value that no sample sees
        np.random.default_rng(2).choice([0.1, 2.0, np.nan], 5_000),
    ],
    ids=["few", "whole", "negative", "many", "rare", "nan"],
)
def test_distinct_values_of_long_columns(values: np.ndarray) -> None:
    unique, first, inverse = distinct(values)
    assert np.array_equal(unique[inverse], values, equal_nan=True)
    if not np.isnan(values).any():
        expected, places = np.unique(values, return_index=True)
        assert np.array_equal(unique, expected) and np.array_equal(first, places)


@pytest.mark.parametrize(("sign", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_cells_between_other_signs_are_said(tmp_path: Path, sign: str, name: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"model{sign}accelerator\nbert-tiny{sign}systolic\n")
    for words in (("sweep", path, "--format", "csv"), ("validate", "--data", path)):
        result = run(*map(str, words))
        assert result.exit_code == 2
        assert f"t.csv: line 1: columns are separated by {name}" in result.stderr


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_other_systems_is_named(tmp_path: Path, encoding: str) -> None:
    mark = {"utf-16-le": "\ufeff", "utf-16-be": "\ufeff"}.get(encoding, "")
    for name, read in (("a.yaml", load_yaml), ("a.json", load_json), ("a.csv", read_csv)):
        path = tmp_path / name
        path.write_bytes((mark + "a,b\n1,2\n").encode(encoding))
        with pytest.raises(InputError, match="is UTF-16 text\n  hint: save it as UTF-8"):
            read(path)


@pytest.mark.parametrize("text", ["010", "-07", "0_1", "00"])
def test_a_number_that_yaml_reads_in_base_8_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=rf"line 2: is not valid YAML: {text} is in base 8"):
        parse_yaml(f"a: 1\nb: {text}\n")
    assert parse_yaml(f"a: '{text}'\nb: [0, 10, 0.5, 08, 1_0]\n") == {
        "a": text,
        "b": [0, 10, 0.5, "08", 10],
    }
