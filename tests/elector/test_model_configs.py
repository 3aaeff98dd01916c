"""Published configurations: the table of benchmarks/model_configs.py is what it prints."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "tests" / "data" / "model_configs.csv"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "benchmarks" / "model_configs.py"
    spec = importlib.util.spec_from_file_location("model_configs", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["model_configs"] = module
    spec.loader.exec_module(module)
    return module


def kept() -> list[dict[str, str]]:
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_files_of_two_years_are_read() -> None:
    rows = kept()
    assert len(rows) == 89
    assert sum(row["outcome"] == "read" for row in rows) >= 82
    for row in rows:
        if row["outcome"] != "read":
            assert row["outcome"] == "refused: model_type"


def test_the_table_is_what_the_script_prints(script: ModuleType) -> None:
    """Where the package with the files is installed (aiconfigurator-core)."""
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        pytest.skip("aiconfigurator-core is not installed")
    printed = list(script.of_folder(Path(spec.origin).parent / "model_configs"))
    written = [{key: str(value) for key, value in row.items()} for row in printed]
    assert written == kept()


@pytest.mark.reference
def test_counts_are_those_of_the_classes(script: ModuleType, reference_dir: Path) -> None:
    rows = list(script.of_counts(reference_dir / "hf_models.json"))
    read = [row for row in rows if row["outcome"] == "read"]
    assert [row["name"] for row in rows if row["difference"]] == []
    assert len(read) >= 123
    assert len({row["model_type"] for row in read}) >= 55


@pytest.mark.reference
def test_a_training_step_is_three_forward_passes_of_what_is_read(
    script: ModuleType, reference_dir: Path
) -> None:
    """Of small configurations of many types; counts of the class where they are whole."""
    entries = json.loads((reference_dir / "hf_models.json").read_text(encoding="utf-8"))
    small = [e for e in entries if e["parameters"] < 10_000_000 and e["macs_checked"] == "yes"]
    checked = 0
    for entry in small:
        row = script.row(
            entry["id"], {**entry["config"], "architectures": [entry["class"]]}, "x", entry
        )
        if row["outcome"] != "read" or entry["train_macs"] != 3 * entry["macs"]["b1"]:
            continue
        model = script.from_config(
            {**entry["config"], "architectures": [entry["class"]]}, entry["id"], "x"
        )
        if model.family == "vision" or entry["model_type"] in script.CONVOLVED:
            continue
        ops = script.operations(model, mode="training", sequence_length=128, predictions=128)
        assert ops.macs[0] == entry["train_macs"], entry["id"]
        checked += 1
    assert checked >= 15
