"""JSON Schemas of users' files: an independent validator takes what the readers take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from commands import run

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from elector.describe.formats.described import from_mapping
from elector.describe.formats.operations import from_listing
from elector.evaluation.accelerators import list_accelerators, load_accelerator
from elector.operations.sparsity import load_sparsity
from elector.studies.schemas import NAMES, json_schema
from elector.studies.training_run import read_plan
from elector.studies.validation_cases import load_cases
from elector.technology import Technology
from transcode.accuracy.schema import accuracy
from transcode.accuracy.user_rows import read_rows
from transcode.cli import main as transcode
from transcode.space import load

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    *(("accelerator", path) for path in sorted((DATA / "accelerators").glob("*.yaml"))),
    *(("model", path) for path in sorted((DATA / "models").glob("*.yaml"))),
    *(("space", path) for path in sorted((ROOT / "spaces").glob("*.yaml"))),
    *(
        (kind, ROOT / "docs" / "examples" / f"{name}.yaml")
        for kind, name in (("space", "space"), ("model", "model"), ("accelerator", "edge"))
    ),
]
PLAN: dict[str, Any] = {
    "model": "hpt-wind",
    "workload": {"precision": "fp32"},
    "phases": [
        {"steps": 300, "accelerator": "hpt", "assignment": [{"unit": "gpu"}]},
        {"tokens": "1e9", "trainable": "lora:8", "accelerator": "hpt"},
    ],
    "switch": {"step": 300, "window": 50, "windows": 2},
}


def problems(kind: str, data: object) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema(kind))
    return [error.message for error in validator.iter_errors(data)]


@pytest.mark.parametrize("kind", NAMES)
def test_the_command_prints_a_schema(kind: str) -> None:
    result = run("schema", kind)
    assert result.exit_code == 0
    schema = json.loads(result.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    shipped = DATA / "json_schema" / f"{kind}.json"
    assert json.loads(shipped.read_text()) == schema, "run `make docs`"


def test_another_kind_is_refused() -> None:
    assert run("schema", "spaces").exit_code == 2
    with pytest.raises(InputError, match="did you mean space"):
        json_schema("spaces")


@pytest.mark.parametrize(("kind", "path"), FILES, ids=lambda v: getattr(v, "stem", v))
def test_shipped_files_pass_and_name_their_schema(kind: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    assert named and (path.parent / named[1]).resolve() == DATA / "json_schema" / f"{kind}.json"
    assert problems(kind, yaml.safe_load(text)) == []


@pytest.mark.parametrize("name", ["tpu-v4i", "hpt", "acceltran", "isaac", "a100-sxm-80gb"])
def test_accelerators_as_files_pass(name: str) -> None:
    assert problems("accelerator", yaml.safe_load(run("show", name, "--yaml").stdout)) == []


@pytest.mark.parametrize("name", ["bert-base", "t5-base", "vit-base", "llama-2-7b", "flexibert"])
def test_models_as_files_pass(name: str) -> None:
    assert problems("model", yaml.safe_load(run("show", name, "--yaml").stdout)) == []


def rows_of(path: Path) -> list[dict[str, str]]:
    names, lines = read_csv(path)
    return [dict(zip(names, cells, strict=True)) for _, cells in lines]


def test_plans_and_tables_of_constants_pass() -> None:
    assert problems("plan", PLAN) == []
    for path in sorted((DATA / "technology").glob("*.csv")):
        assert problems("technology", rows_of(path)) == []


def test_shipped_tables_and_lists_pass() -> None:
    for path in sorted((DATA / "sparsity").glob("*.csv")):
        assert problems("sparsity", rows_of(path)) == [], path.name
    assert problems("measurements", rows_of(DATA / "published.csv")) == []
    listed = yaml.safe_load((ROOT / "docs" / "examples" / "operations.yaml").read_text())
    assert problems("operations", listed) == problems("model", listed) == []


def test_the_schema_of_accuracies_takes_the_shipped_rows() -> None:
    """And `transcode schema` prints it, beside that of spaces."""
    done = CliRunner().invoke(transcode, ["schema", "accuracy"])
    schema = json.loads(done.stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    folder = ROOT / "transcode" / "data" / "accuracy"
    for name in ("encoders", "dynaprop"):
        assert [e.message for e in validator.iter_errors(rows_of(folder / f"{name}.csv"))] == []
    spaces = CliRunner().invoke(transcode, ["schema", "space"]).stdout
    assert json.loads(spaces) == json_schema("space")


SCORE = {
    "name": "mine",
    "task": "sst2",
    "score": "91.2",
    "layers": "12",
    "hidden": "768",
    "heads": "12",
    "feed_forward": "3072",
}


@pytest.mark.parametrize(
    "row",
    [
        SCORE,
        SCORE | {"std": "", "workload.sequence_length": "128"},
        SCORE | {"score": "high"},
        SCORE | {"score": ""},
        SCORE | {"layers": "some"},
        {**SCORE, "heads": "12", "evidence": "guessed"},
        SCORE | {"colour": "red"},
        {k: v for k, v in SCORE.items() if k != "heads"},
    ],
    ids=str,
)
def test_the_reader_of_accuracies_refuses_what_its_schema_does(
    row: dict[str, str], tmp_path: Path
) -> None:
    good = jsonschema.Draft202012Validator(accuracy()).is_valid([row])
    path = tmp_path / "rows.csv"
    path.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    if good:
        assert len(read_rows(path)) == 1
    else:
        with pytest.raises(InputError):
            read_rows(path)
    assert good == (SCORE.items() <= row.items() and not {"colour", "evidence"} & set(row))


def _accelerator(data: dict[str, Any], folder: Path) -> object:
    path = folder / "a.yaml"
    path.write_text(yaml.safe_dump(data))
    return load_accelerator(str(path))


def _table(read: Callable[[Path], object]) -> Callable[[Any, Path], object]:
    def write(data: list[dict[str, Any]], folder: Path) -> object:
        path = folder / "rows.csv"
        lines = [",".join(data[0]), *(",".join(map(str, row.values())) for row in data)]
        path.write_text("\n".join(lines) + "\n")
        return read(path)

    return write


READERS: dict[str, Callable[[Any, Path], object]] = {
    "operations": lambda data, folder: from_listing(data, "m", "m.yaml"),
    "sparsity": _table(lambda path: load_sparsity(str(path))),
    "measurements": _table(load_cases),
    "accelerator": _accelerator,
    "model": lambda data, folder: from_mapping(data, "m", "m.yaml"),
    "space": lambda data, folder: load(data),
    "plan": lambda data, folder: read_plan(data),
    "technology": _table(lambda path: Technology.load(str(path))),
}
SMALL = {
    "model": {"base": "encoder", "layers": [2, 4]},
    "accelerator": {"base": "systolic", "rows": [16, 32]},
    "objectives": {"latency_s": "min"},
}
LIST = {
    "kind": "operations",
    "symbols": {"width": 64},
    "operations": [
        {"m": "batch * length", "k": "width", "n": 64},
        {"operation": "softmax", "elements": "length ** 2", "layer": 1},
    ],
}
DENSITY = {
    **{"model": "*", "tau_i": "", "tau_t": "", "phase": "forward", "operation": "*"},
    **{"layer": "*", "operand": "activation", "density": "0.5"},
}
CASE = {
    **{"case": "mine", "group": "mine / all / latency", "model": "bert-tiny"},
    **{"accelerator": "tpu-v4i", "settings": "", "metric": "latency_s", "value": "1"},
    **{"unit": "ms", "tolerance": "10 %", "kind": "outcome", "source": "me"},
    "evidence": "measured",
}
ROW = {
    "part": "sram",
    "quantity": "read_energy",
    "value": 11.4,
    "unit": "pJ/byte",
    "node_nm": 65,
    "law": "sqrt_size",
    "source": "mine",
    "evidence": "measured",
}


def test_what_the_bad_ones_are_made_of_is_good(tmp_path: Path) -> None:
    good = {
        "accelerator": {"base": "systolic", "rows": 64, "sram": "4 MB"},
        "model": {"base": "encoder", "layers": 6},
        "space": SMALL,
        "plan": PLAN | {"phases": PLAN["phases"][:1], "switch": None} | {"switch": {"step": 300}},
        "technology": [ROW],
        "operations": LIST,
        "sparsity": [DENSITY],
        "measurements": [CASE],
    }
    del good["plan"]["switch"]  # type: ignore[attr-defined]
    for kind, data in good.items():
        assert problems(kind, data) == [], kind
        READERS[kind](data, tmp_path)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("accelerator", {"base": "systolic", "row": 64}),
        ("accelerator", {"base": "systolic", "rows": 0}),
        ("accelerator", {"base": "systolic", "rows": 1.5}),
        ("accelerator", {"base": "systolic", "rows": "many"}),
        ("accelerator", {"base": "systolic", "dataflow": "wos"}),
        ("accelerator", {"base": "tpu-v4i", "tile_b": 1}),
        ("accelerator", {"base": "tpu-v44"}),
        ("accelerator", {"rows": 64}),
        ("accelerator", {"units": {}, "assignment": [{"unit": "a"}]}),
        ("accelerator", {"units": {"A": {"base": "reram"}}, "assignment": [{"unit": "A"}]}),
        (
            "accelerator",
            {
                "units": {"a": {"base": "reram"}},
                "assignment": [{"unit": "a", "match": {"kind": "linar"}}],
            },
        ),
        ("model", {"base": "encoder", "layer": 6}),
        ("model", {"base": "encoder", "layers": 0}),
        ("model", {"base": "encoder", "activation": "swish"}),
        ("model", {"base": "encoder", "gated": "perhaps"}),
        ("model", {"gemms": []}),
        ("model", {"gemms": [{"name": "a", "m": 1, "n": 2}]}),
        ("model", {"blocks": [{"hiden": 4}], "family": "encoder"}),
        ("space", {k: v for k, v in SMALL.items() if k != "objectives"}),
        ("space", SMALL | {"objectives": {}}),
        ("space", SMALL | {"objectives": {"latency_s": "smallest"}}),
        ("space", SMALL | {"objective": {}}),
        ("space", SMALL | {"model": {"base": "encoder", "layers": {"low": 2}}}),
        ("space", SMALL | {"model": {"layers": [2]}}),
        ("space", SMALL | {"model": {"base": "encoder", "layers": []}}),
        ("space", SMALL | {"accelerator": {"base": "systolic", "rows": {"low": 1, "hi": 2}}}),
        ("space", SMALL | {"workload": {"batches": 1}}),
        ("space", SMALL | {"workloads": {}}),
        ("plan", {"model": "hpt-wind"}),
        ("plan", PLAN | {"phases": []}),
        ("plan", PLAN | {"phases": [{"steps": 5}]}),
        ("plan", PLAN | {"phases": [{"accelerator": "hpt"}]}),
        ("plan", PLAN | {"phases": [{"steps": 5, "tokens": 5, "accelerator": "hpt"}]}),
        ("plan", PLAN | {"workload": {"mode": "training"}}),
        ("plan", PLAN | {"switch": {"window": 2}}),
        ("technology", [ROW | {"evidence": "guessed"}]),
        ("technology", [ROW | {"law": "linear"}]),
        ("technology", [ROW | {"node_nm": 1}]),
        ("technology", [{k: v for k, v in ROW.items() if k != "unit"}]),
        ("technology", [ROW | {"colour": "red"}]),
        ("operations", LIST | {"operations": []}),
        ("operations", LIST | {"operation": []}),
        ("operations", LIST | {"operations": [{"m": 1, "k": 2}]}),
        ("operations", LIST | {"operations": [{"m": 1, "k": 2, "n": -1}]}),
        ("operations", LIST | {"operations": [{"m": 1, "k": 2, "n": 1.5}]}),
        ("operations", LIST | {"operations": [{"m": 1, "k": 2, "n": 3, "elements": 3}]}),
        ("operations", LIST | {"operations": [{"operation": "softmix", "elements": 3}]}),
        ("operations", LIST | {"operations": [{"operation": "softmax"}]}),
        ("operations", LIST | {"operations": [{"m": 1, "k": 2, "n": 3, "b": "weights"}]}),
        ("sparsity", [DENSITY | {"phase": "forwards"}]),
        ("sparsity", [DENSITY | {"operand": "weights"}]),
        ("sparsity", [DENSITY | {"density": "half"}]),
        ("sparsity", [DENSITY | {"evidence": "guessed"}]),
        ("sparsity", [{k: v for k, v in DENSITY.items() if k != "density"}]),
        ("sparsity", [DENSITY | {"colour": "red"}]),
        ("measurements", [CASE | {"kind": "result"}]),
        ("measurements", [CASE | {"evidence": "guessed"}]),
        ("measurements", [CASE | {"fitted": "perhaps"}]),
        ("measurements", [CASE | {"unit": ""}]),
        ("measurements", [{k: v for k, v in CASE.items() if k != "source"}]),
    ],
    ids=str,
)
def test_bad_files_are_refused_by_schema_and_reader(kind: str, data: Any, tmp_path: Path) -> None:
    assert problems(kind, data)
    with pytest.raises(elector.InputError):
        READERS[kind](data, tmp_path)


def test_bounds_are_those_of_the_reader(tmp_path: Path) -> None:
    """Bare numbers are in the unit of the schema: the bounds of node, clock and sram, just inside
    and just outside, in both."""
    fields = json_schema("accelerator")["$defs"]["systolic"]["properties"]
    for key in ("node", "clock", "sram", "rows"):
        number = fields[key]["anyOf"][0]
        for end, outside in (("minimum", 0.9), ("maximum", 1.1)):
            for factor, good in ((1.0, True), (outside, False)):
                value = number[end] * factor
                value = int(value) if number["type"] == "integer" else value
                if good is False and value == number[end]:
                    continue
                data = {"base": "systolic", key: value}
                assert (problems("accelerator", data) == []) is good, data
                if good:
                    _accelerator(data, tmp_path)
                else:
                    with pytest.raises(elector.InputError):
                        _accelerator(data, tmp_path)


def test_every_preset_is_a_base() -> None:
    known = json_schema("accelerator")["properties"]["base"]["anyOf"][0]["enum"]
    assert set(list_accelerators()) <= set(known)
