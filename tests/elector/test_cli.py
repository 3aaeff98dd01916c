"""The command `elector`: what it prints, what it writes, how it exits."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from commands import loaded, run

import elector
from elector.base.errors import EvaluationError, InputError
from elector.base.table import DATA, schema
from elector.cli.commands import main
from elector.cli.options import WORKLOAD_OPTIONS, settings_of
from elector.studies.validation_cases import load_cases
from transcode.cli.commands import main as transcode

ROOT = Path(__file__).resolve().parents[2]

KEYS = [
    *("model", "accelerator", "feasible", "reason", "latency_s", "energy_j"),
    *("latency_per_sequence_s", "energy_per_sequence_j", "throughput_sequences_per_s"),
    *("power_w", "area_mm2", "utilization", "macs", "parameters", "memory_bytes"),
    *("energy_by_part_j", "area_by_part_mm2", "latency_by_kind_s", "energy_by_phase_j"),
    "provenance",
]
#: A design whose machine cannot hold it.
INFEASIBLE = (
    *("bert-base", "systolic", "--mode", "training"),
    *("--set", "accelerator.memory_capacity=10 MB", "--set", "accelerator.sram=1 MB"),
)


# simulate


def test_simulate_prints_the_json_of_the_contract() -> None:
    result = loaded("simulate", "bert-base", "tpu-v4i", "--format", "json")
    assert not [key for key in KEYS if key not in result]
    assert result["model"] == "bert-base"
    assert result["feasible"] is True
    assert result["reason"] is None
    assert result["parameters"] == 109_482_240
    assert result["macs"] == 11_174_215_680
    assert set(result["memory_bytes"]) == {
        "weights",
        "gradients",
        "optimizer",
        "activations",
        "cache",
    }
    assert sum(result["energy_by_part_j"].values()) == pytest.approx(result["energy_j"])
    assert sum(result["provenance"].values()) == pytest.approx(1.0)


def test_simulate_is_the_python_function() -> None:
    result = loaded(
        *("simulate", "gpt2", "tpu-v4i", "--batch", "2", "--generate", "4", "--format", "json"),
        *("--set", "accelerator.sram=16 MiB"),
    )
    settings = {
        "workload.batch": 2,
        "workload.generate": 4,
        "accelerator.sram": "16 MiB",
    }
    assert result == elector.simulate("gpt2", "tpu-v4i", settings=settings)
    assert result["time_to_first_token_s"] > 0


def test_simulate_as_a_table_and_as_csv() -> None:
    text = run("simulate", "bert-tiny", "tpu-v4i").stdout
    assert "bert-tiny on tpu-v4i" in text
    for word in ("latency", "energy by part", "area by part", "memory", "leakage", "4,385,920"):
        assert word in text
    rows = list(
        csv.DictReader(
            io.StringIO(run("simulate", "bert-tiny", "tpu-v4i", "--format", "csv").stdout)
        )
    )
    assert len(rows) == 1
    shown = loaded("simulate", "bert-tiny", "tpu-v4i", "--format", "json")
    assert float(rows[0]["energy_j"]) == shown["energy_j"]
    assert float(rows[0]["memory_bytes.weights"]) == shown["memory_bytes"]["weights"]


def test_operations_add_up_in_every_format() -> None:
    words = ("simulate", "bert-tiny", "tpu-v4i", "--operations", "--format")
    shown = loaded(*words, "json")
    rows = list(csv.DictReader(io.StringIO(run(*words, "csv").stdout)))
    assert [row["name"] for row in rows] == [row["name"] for row in shown["operations"]]
    joules = sum(float(row["joules"]) for row in rows)
    leakage = shown["energy_by_part_j"]["leakage"]
    assert joules + leakage == pytest.approx(shown["energy_j"])
    assert set(rows[0]) >= {
        *("name", "layer", "phase", "kind", "batch", "m", "k", "n", "count", "cycles"),
        *("seconds", "joules", "bound", "tile_m", "tile_k", "tile_n", "sram_bytes"),
        *("dram_bytes", "unit"),
    }
    assert "feed-forward in" in run(*words, "table").stdout


def test_an_infeasible_design_exits_with_3_and_says_why() -> None:
    result = run("simulate", *INFEASIBLE, "--format", "json")
    assert result.exit_code == 3
    shown = json.loads(result.stdout)
    assert shown["feasible"] is False
    assert shown["reason"]
    for key in ("latency_s", "energy_j", "power_w", "utilization"):
        assert shown[key] is None
    for key in ("macs", "parameters", "area_mm2"):
        assert shown[key] > 0
    table = run("simulate", *INFEASIBLE)
    assert table.exit_code == 3
    assert max(map(len, table.stdout.splitlines())) <= 80
    assert f"infeasible: {shown['reason']}" in " ".join(table.stdout.split())
    assert "--operations" not in table.stdout
    assert run("simulate", *INFEASIBLE, "--operations").exit_code == 3


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("bert-bsae", "tpu-v4i"), ("model: unknown model", "did you mean bert-base?")),
        (("bert-base", "tpu-v4"), ("accelerator: unknown accelerator", "tpu-v4i")),
        (("nowhere/config.json", "tpu-v4i"), ("nowhere/config.json: does not exist",)),
        (("bert-base", "systolic", "--batch", "0"), ("workload.batch: must be at least 1",)),
        (("bert-base", "systolic", "--batch", "x"), ("workload.batch: is not a number",)),
        (("bert-base", "systolic", "--batch", "nan"), ("workload.batch: must be finite",)),
        (("bert-base", "systolic", "--mode", "trainig"), ("did you mean training?",)),
        (
            ("bert-base", "systolic", "--set", "accelerator.sram=8 MX"),
            ("accelerator.sram: unknown unit", "did you mean MB?"),
        ),
        (
            ("bert-base", "systolic", "--set", "accelerator.rwos=8"),
            ("unknown key", "did you mean accelerator.rows?"),
        ),
        (("bert-base", "systolic", "--set", "accelerator.rows"), ("--set: must read KEY=VALUE",)),
        (("bert-base", "systolic", "--set", "rows=3"), ("--set: must be a dotted name",)),
        (
            ("bert-base", "systolic", "--batch", "2", "--set", "workload.batch=2"),
            ("workload.batch: is given twice",),
        ),
        (("encoder", "systolic", "--set", "model.heads=7"), ("7 heads do not divide",)),
        (("bert-base", "systolic", "--technology", "absent.csv"), ("absent.csv: cannot be read",)),
        (("bert-base", "systolic", "--node", "1000"), ("accelerator.node: must be at most",)),
        (("bert-base",), ("Missing argument",)),
        (("bert-base", "systolic", "--format", "xml"), ("'xml'",)),
        (("bert-base", "systolic", "--bathc", "3"), ("--batch",)),
    ],
)
def test_bad_input_exits_with_2_and_one_message(
    words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    result = run("simulate", *words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize(
    "row",
    [
        "overhead,idle_clock,0,GHz,",
        "logic,nominal_supply,0,1,",
        "logic,clock,0,GHz,7",
        "overhead,area_fraction,1e308,1,",
    ],
)
def test_a_price_without_a_finite_result_exits_with_2(tmp_path: Path, row: str) -> None:
    own = tmp_path / "own.csv"
    own.write_text(f"part,quantity,value,unit,node_nm,source,evidence\n{row},me,measured\n")
    result = run("simulate", "bert-base", "tpu-v4i", "--technology", str(own))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "own.csv: line 2: value: " in result.stderr
    assert " to 1" in result.stderr  # what is allowed


@pytest.mark.parametrize(
    "words",
    [
        ["{long}"],
        ["--{long}"],
        ["simulate", "bert-tiny", "systolic", "--{long}"],
        ["simulate", "bert-tiny", "systolic", "{long}"],
        ["simulate", "bert-tiny", "systolic", "\x1b[31m{long}"],
        ["sweep", "x.csv", "--{long}=1"],
    ],
)
def test_long_words_are_not_repeated_whole(words: list[str]) -> None:
    done = run(*(word.format(long="q" * 5000) for word in words))
    assert done.exit_code == 2 and len(done.stderr) < 800 and "\x1b" not in done.stderr
    assert "Error: " in done.stderr and "qqq" in done.stderr


def test_an_unknown_command_suggests_the_nearest() -> None:
    result = run("simulat")
    assert result.exit_code == 2
    assert "did you mean simulate?" in result.stderr
    assert "commands: simulate" in run("xyz").stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("wrong", file="a.csv"), 2),
        (EvaluationError("broken"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_exit_codes(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("elector.studies.simulation.simulate", fail)
    result = run("simulate", "bert-base", "tpu-v4i")
    assert result.exit_code == code
    assert "Traceback" not in result.output


def test_settings_from_options_and_assignments() -> None:
    assert settings_of(
        ("model.hidden = 4", "accelerator.sram=4 MB"), {"batch": "2", "mode": None, "node": "7"}
    ) == {
        "workload.batch": "2",
        "accelerator.node": "7",
        "model.hidden": "4",
        "accelerator.sram": "4 MB",
    }


def test_every_workload_option_is_a_setting() -> None:
    keys = {name.replace("-", "_") for name, _ in WORKLOAD_OPTIONS}
    assert keys <= set(schema("workload"))
    promised = "mode batch sequence_length generate precision optimizer activations attention"
    assert keys >= {*promised.split(), "sparsity"}


# list, explain, validate


@pytest.mark.parametrize("what", ["models", "accelerators", "technologies", "results", "settings"])
def test_list(what: str) -> None:
    records = loaded("list", what, "--format", "json")
    assert records
    table = run("list", what).stdout
    rows = list(csv.DictReader(io.StringIO(run("list", what, "--format", "csv").stdout)))
    assert len(rows) == len(records) == len(table.splitlines()) - 1
    assert all(record["source"] for record in records)
    assert all(len(line) <= 80 for line in table.splitlines())


def test_listed_models_have_their_parameters() -> None:
    models = {row["name"]: row for row in loaded("list", "models", "--format", "json")}
    assert models["bert-base"]["parameters"] == 109_482_240
    assert models["t5-base"]["family"] == "encoder-decoder"


def test_an_unknown_list_is_refused() -> None:
    assert run("list", "modles").exit_code == 2


@pytest.mark.parametrize("result", ["energy_j", "area_mm2", "latency_s", "macs", "parameters"])
def test_explain_ends_in_the_result_of_simulate(result: str) -> None:
    words = ("bert-tiny", "tpu-v4i", "--batch", "2", "--format", "json")
    explained = loaded("explain", *words, "--result", result)
    assert explained["value"] == pytest.approx(loaded("simulate", *words)[result])
    if result in ("energy_j", "area_mm2"):
        assert sum(term["value"] for term in explained["terms"]) == pytest.approx(
            explained["value"]
        )
        assert explained["rows"]
    text = run("explain", "bert-tiny", "tpu-v4i", "--result", result).stdout
    assert text.startswith(f"{result} of bert-tiny on tpu-v4i")
    assert run("explain", *words[:2], "--result", result, "--format", "csv").exit_code == 0


def test_explain_a_price() -> None:
    explained = loaded("explain", "price", "sram", "--node", "7", "--format", "json")
    assert explained["node_nm"] == 7
    assert {price["quantity"] for price in explained["prices"]} >= {
        "read_energy",
        "area",
        "leakage",
    }
    assert all(row["source"] for row in explained["rows"])
    text = run("explain", "price", "sram").stdout
    assert "sram at 14 nm" in text
    assert run("explain", "price", "sram", "--format", "csv").exit_code == 0


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("price", "srma"), "did you mean sram?"),
        (("price", "sram", "--node", "abc"), "--node: is not a number"),
        (("bert-tiny", "tpu-v4i", "--result", "energy"), "energy_j"),
    ],
)
def test_explain_refuses_what_it_does_not_know(words: tuple[str, ...], part: str) -> None:
    result = run("explain", *words)
    assert result.exit_code == 2
    assert part in result.stderr


#: Groups of shipped cases.
VOLTA = "volta / *"


def test_validate_repeats_shipped_cases() -> None:
    """In each format the same cases; test_validate.py looks at the verdicts of all of them."""
    result = run("validate", "--case", VOLTA, "--format", "json")
    assert result.exit_code == 0, result.stdout
    cases = json.loads(result.stdout)
    assert len(cases) > 40
    told = {"ok", "too few", "in-sample", "known miss"}
    assert all(case["verdict"] in told and case["source"] for case in cases)
    text = run("validate", "--case", "peak").stdout
    assert "0 outside their tolerance" in text
    assert text.count(" ok ") == sum(
        "peak" in case.case for case in load_cases(DATA / "published.csv")
    )
    rows = csv.DictReader(io.StringIO(run("validate", "--case", VOLTA, "--format", "csv").stdout))
    assert len(list(rows)) == len(cases)


def test_validate_exits_with_4_where_a_case_fails(tmp_path: Path) -> None:
    shipped = (ROOT / "elector/data/published.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(shipped)))
    row = next(row for row in rows if row["metric"] == "peak_ops_per_s")
    path = tmp_path / "cases.csv"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row | {"value": str(10 * float(row["value"])), "tolerance": "5 %"})
    result = run("validate", "--cases", str(path))
    assert result.exit_code == 4
    assert "FAILED" in result.stdout
    assert "1 cases, 1 outside" in result.stdout
    assert run("validate", "--case", "no such case").exit_code == 2


# help, version, completion, start


@pytest.mark.parametrize("program", [main, transcode], ids=["elector", "transcode"])
def test_help_is_80_columns_wide(program: click.Group) -> None:
    """Examples too, and no list of choices is broken in the middle of a word."""
    for words in ([], *([name] for name in program.list_commands(click.Context(program)))):
        shown = CliRunner().invoke(program, [*words, "--help"]).stdout
        assert max(map(len, shown.splitlines())) <= 80, words
        usage = shown.partition("\n\n")[0]
        assert not re.search(r"\w\n +\w", usage), usage


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "bert-tiny", "acceltran-server", "--mode", "training", "--operations"),
        ("simulate", "gpt2", "a100-sxm-80gb", "--generate", "5", "--operations"),
        ("simulate", "hpt-wind", "hpt", "--mode", "training", "--operations"),
        ("explain", "bert-tiny", "acceltran-server", "--mode", "training"),
        ("explain", "bert-tiny", "reram+systolic", "--result", "area_mm2"),
        ("explain", "bert-tiny", "hpt", "--result", "latency_s"),
        ("explain", "price", "sram"),
        *(("list", w) for w in ("models", "accelerators", "technologies", "results", "settings")),
        ("show", "hpt"),
        ("validate", "--case", "tpu"),
    ],
    ids=" ".join,
)
def test_tables_are_80_columns_wide(words: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_version_and_help() -> None:
    assert run("--version").stdout == f"elector, version {elector.__version__}\n"
    assert "_ELECTOR_COMPLETE=bash_source" in run("--help").stdout
    for name, command in main.commands.items():  # type: ignore[attr-defined]
        text = run(name, "--help").stdout
        assert f"elector {name}" in text
        assert all(option.help for option in command.params if option.param_type_name == "option")


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("elector sim", {"simulate"}),
        ("elector simulate bert-ti", {"bert-tiny"}),
        ("elector simulate bert-tiny tpu-v4", {"tpu-v4i"}),
        ("elector simulate bert-tiny tpu-v4i --mode tr", {"training"}),
        ("elector simulate bert-tiny tpu-v4i --set workload.b", {"workload.batch="}),
        ("elector list m", {"models"}),
        ("elector explain pri", {"price"}),
        ("elector explain price sra", {"sram"}),
        ("elector explain bert-tiny tpu-v4i --result lat", {"latency_s", "latency_per_sequence_s"}),
        ("elector simulate bert-tiny tpu-v4i --set workload.mode=t", {"workload.mode=training"}),
        ("elector simulate bert-tiny tpu-v4i --set accelerator.fuse=f", {"accelerator.fuse=false"}),
        ("elector simulate bert-tiny tpu-v4i --sparsity dyna", {"dynatran"}),
        ("elector simulate bert-tiny tpu-v4i --implementation ea", {"eager"}),
        ("elector show bert-ti", {"bert-tiny"}),
        ("elector show tpu-v4", {"tpu-v4i"}),
        ("elector compare bert-tiny tpu-v4", {"tpu-v4i"}),
        ("elector compare bert-tiny tpu-v4i systolic --metric energy_j", {"energy_j"}),
        ("elector report bert-tiny tpu-v4", {"tpu-v4i"}),
        ("elector schema sp", {"space", "sparsity"}),
        ("elector sweep x.csv --format js", {"json"}),
    ],
)
def test_shell_completion(words: str, wanted: set[str]) -> None:
    environment = {
        "_ELECTOR_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = CliRunner().invoke(main, [], env=environment, prog_name="elector")
    assert {line.partition(",")[2] for line in result.stdout.splitlines()} == wanted


def test_help_shows_choices_and_defaults_of_the_schema() -> None:
    text = " ".join(run("simulate", "--help").stdout.split())
    for key, field in schema("workload").items():
        if f"--{key.replace('_', '-')} VALUE" in text:
            assert f"[default: {field.default}]" in text
            assert " | ".join(field.choices) in text
    assert "--implementation VALUE" in text and "auto | unfused | fused | flash" in text


def test_a_name_that_is_cut_short_is_the_beginning_of_another() -> None:
    assert "did you mean h100-" in run("simulate", "bert-tiny", "h100").stderr
    assert "did you mean bert-" in run("simulate", "bert", "tpu-v4i").stderr
    wrong = ("simulate", "bert-tiny", "tpu-v4i", "--set", "accelerator.ram=3")
    assert "did you mean accelerator.sram?" in run(*wrong).stderr


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("elector", ["--help"]),
        ("elector", ["simulate", "--help"]),
        ("transcode", ["--help"]),
        ("transcode", ["search", "--help"]),
    ],
)
def test_help_needs_no_numpy(program: str, words: list[str]) -> None:
    code = (
        f"import sys\nfrom {program}.cli.commands import main\n"
        f"try:\n    main({words})\nexcept SystemExit:\n    pass\n"
        "assert 'numpy' not in sys.modules and 'yaml' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_a_wrapped_line_keeps_units_and_paths_whole() -> None:
    from elector.cli.text import paragraph

    words = "leakage 73.6 mJ instead of 52.2 mJ, in results/a-very-long-name/with-parts"
    for width in range(20, 80):
        lines = paragraph(words, width=width).splitlines()
        assert " ".join(line.strip() for line in lines) == words
        for whole in ("73.6 mJ", "52.2 mJ", "results/a-very-long-name/with-parts"):
            assert any(whole in line for line in lines)
