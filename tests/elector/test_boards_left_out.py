"""llama.cpp on boards that none of its constants is fitted on: cited, taken by rule."""

from __future__ import annotations

import csv
import importlib
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import pytest

import elector
from elector.base.table import DATA
from elector.studies.validation_cases import ValidationCase, as_text, load_cases

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CASES = load_cases(DATA / "published.csv")
OTHERS = [c for c in CASES if c.group.endswith("on other boards")]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("llama_bench")


def _own(settings: dict[str, object]) -> dict[str, object]:
    """Settings of a row without its model and accelerator."""
    return {k: v for k, v in settings.items() if "." in k and v is not None}


def test_every_row_that_fits_is_a_case(bench: ModuleType) -> None:
    """No error has a say: a row is missing where its design is infeasible, and only there."""
    cases = {(c.accelerator, c.configuration, c.metric): c for c in OTHERS}
    assert len(cases) == len(OTHERS) >= 70
    missing = []
    for r in bench.taken():
        settings, (metric, value, unit) = bench.settings(r), bench.figure(r)
        assert unit == "ms"
        case = cases.pop((r["accelerator"], as_text(_own(settings)), metric), None)
        if case is None:
            missing.append(settings)
        else:
            _is_cited(case, r, value * 1e-3)
    assert not cases
    assert len(missing) == 2
    for settings in missing:
        model, board = str(settings["model"]), str(settings["accelerator"])
        assert not elector.simulate(model, board, settings=_own(settings))["feasible"]


def _is_cited(case: ValidationCase, r: dict[str, str], seconds: float) -> None:
    assert case.unit == "s" and case.source == r["source"] and case.evidence == "measured"
    assert case.value == pytest.approx(seconds, rel=1e-5)
    assert not case.fitted and case.unseen


def test_what_stays_out_stays_out_by_its_own_table(bench: ModuleType) -> None:
    """Prompts that go the faster the longer they are, and no others."""
    prompts: dict[str, dict[int, tuple[float, str]]] = defaultdict(dict)
    for r in bench.records():
        if r["kind"] == "prompt" and r["model"] == "llama-3-8b":
            prompts[r["accelerator"]][int(r["tokens"])] = float(r["tokens_per_s"]), r["doubt"]
    for board, rows in prompts.items():
        rises = rows[max(rows)][0] > rows[min(rows)][0]
        assert {bool(doubt) for _, doubt in rows.values()} == {rises}, board
    assert {r["accelerator"] for r in bench.records() if r["doubt"]} == {"l40s", "a100-sxm-80gb"}
    assert not [r for r in bench.records() if r["doubt"] and r["kind"] != "prompt"]


def test_no_fit_sees_a_row_of_these_boards(bench: ModuleType, tmp_path: Path) -> None:
    """Not even where a folder of measurements holds them."""
    rows = importlib.import_module("engine_rows")
    fields = {
        "device": "RTX 4090",
        "workload": "llama-3-8b-decode",
        "mode": "infer",
        "layers": "32",
        "hidden": "4096",
        "heads": "32",
        "ff": "14336",
        "vocab": "128256",
        "kv_heads": "8",
        "seq": "1",
        "generate": "512",
        "batch_per_device": "1",
        "grad_accum": "1",
        "dtype": "fp16",
        "weights": "fp16",
        "activations": "fp16",
        "attention_impl": "unfused",
        "implementation": "llama.cpp",
        "block": "llama.cpp / RTX 4090",
        "metric": "decode_tokens_per_s",
        "value": "54.84",
        "source": "a table",
        "flag": "single",
        "power_limit_w": "",
    }
    devices = ["RTX 4090", *(board.upper().replace("-", " ") for board in sorted(bench.boards()))]
    with (tmp_path / "gpu_engines.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fields)
        writer.writeheader()
        writer.writerows(fields | {"device": device} for device in devices)
    seen = rows.for_fitting(tmp_path)
    assert [s["accelerator"] for s in seen.settings] == ["rtx-4090"]
    assert len(rows.engines(tmp_path)) == len(devices) == 9


def test_no_constant_of_the_stack_was_fitted_on_one_of_them(bench: ModuleType) -> None:
    fitted = {c.accelerator for c in CASES if "/ llama.cpp /" in c.group and c.fitted}
    assert fitted and not fitted & bench.boards()
    assert {c.accelerator for c in OTHERS} == bench.boards()
