"""Results say what was simulated: settings as resolved, one line in the table, hints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from commands import loaded, run

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, schema
from elector.evaluation.accelerators import load_accelerator

GEMM = str(DATA / "gemms" / "bert-base-qkv.csv")
DESIGNS: list[tuple[str, str, dict[str, object]]] = [
    ("bert-tiny", "systolic", {}),
    ("bert-base", "tpu-v4i", {"workload.mode": "training", "accelerator.sram": "9 MB"}),
    ("gpt2", "a100-sxm-40gb", {"workload.generate": 4, "workload.attention": "flash"}),
    ("t5-base", "tpu-v3", {"workload.target_length": 17}),
    ("vit-base", "gpu", {}),
    ("flexibert", "gpu", {"model.layers": 2, "model.layer1.head1": "dft"}),
    (GEMM, "systolic", {"accelerator.dataflow": "os"}),
    ("bert-tiny", "isaac", {}),
    ("bert-tiny", "acceltran-edge", {"workload.sparsity": "dynatran", "workload.tau_i": 0.05}),
    ("bert-tiny", "hpt", {"workload.mode": "training", "workload.trainable": "lora:4"}),
    ("mistral-7b", "h100-sxm-80gb", {"workload.precision": "fp8"}),
]
#: Figures of a data sheet that a user repeats are the user's own: their evidence is another.
REMARKS = ("settings", "notes", "sparsity", "provenance")


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
def test_settings_are_all_there_is_and_repeat_the_design(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    result: Any = elector.simulate(model, accelerator, settings=settings)
    shown = result["settings"]
    fields = load_accelerator(accelerator).machine.fields
    assert {f"workload.{key}" for key in schema("workload")} <= shown.keys()
    assert {f"accelerator.{key}" for key in fields} <= shown.keys()
    assert {key for key, entry in shown.items() if not entry["default"]} == settings.keys()
    given = {key: entry["value"] for key, entry in shown.items() if entry["value"] is not None}
    again: Any = elector.simulate(model, accelerator, settings=given)
    for name in result.keys() - set(REMARKS):
        assert again[name] == result[name], name
    assert again["settings"].keys() == shown.keys()


def test_a_value_says_what_it_resolved_to() -> None:
    shown: Any = elector.simulate("bert-tiny", "tpu-v4i")["settings"]
    assert shown["workload.attention"] == {"value": "unfused", "default": True}
    assert shown["workload.implementation"] == {"value": "eager", "default": True}
    assert shown["workload.precision"] == {"value": "bf16", "default": True}
    assert shown["workload.batch"] == {"value": 1, "default": True}
    assert shown["model.hidden"] == {"value": 128, "default": True}
    assert shown["accelerator.sram"] == {"value": 144 * 2**20, "default": True}
    assert shown["accelerator.double_buffer"] == {"value": True, "default": True}
    given = {"workload.attention": "auto", "workload.batch": 1}
    shown = elector.simulate("bert-tiny", "tpu-v4i", settings=given)["settings"]
    assert shown["workload.attention"] == {"value": "unfused", "default": False}
    assert shown["workload.batch"] == {"value": 1, "default": False}


def test_auto_is_what_it_resolves_to() -> None:
    usual = elector.simulate("bert-tiny", "gpu")
    for key, value in (("attention", "flash"), ("implementation", "tensorrt")):
        for given in ("auto", value):
            result = elector.simulate("bert-tiny", "gpu", settings={f"workload.{key}": given})
            assert result["latency_s"] == usual["latency_s"]
        assert schema("workload")[key].default == "auto"
    with pytest.raises(InputError, match="no such software stack"):
        elector.simulate("bert-tiny", "tpu-v4i", settings={"workload.implementation": "compiled"})


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ("bert-tiny", "tpu-v4i"),
            "inference, batch 1, 128 tokens, bf16, eager stack, unfused attention",
        ),
        (
            ("gpt2", "a100-sxm-40gb", "--generate", "8", "--batch", "2", "--attention", "flash"),
            "inference, batch 2, 128 tokens, 8 generated, bf16, vllm stack, flash attention",
        ),
        ((GEMM, "systolic"), "inference, bf16, eager stack"),
    ],
)
def test_one_line_of_the_table_says_what_was_simulated(words: tuple[str, ...], line: str) -> None:
    assert run("simulate", *words).stdout.splitlines()[1] == line


def test_the_line_of_a_training_step() -> None:
    words = ("bert-tiny", "a100-sxm-40gb", "--mode", "training", "--trainable", "lora:8")
    shown = run("simulate", *words, "--gradient-accumulation", "4").stdout.splitlines()
    line = " ".join(part.strip() for part in shown[1 : shown.index("")])
    assert line.startswith("training, batch 1, 128 tokens, ")
    for part in ("adamw", "trains lora:8", "4 micro-batches", "eager stack"):
        assert f", {part}" in line


def test_version_and_settings_in_json_and_csv(tmp_path: Path) -> None:
    result = loaded("simulate", "bert-tiny", "tpu-v4i", "--format", "json")
    assert result["version"] == elector.__version__ and result["notes"] == []
    text = run("simulate", "bert-tiny", "tpu-v4i", "--format", "csv").stdout
    assert "settings.workload.batch.value" in text.splitlines()[0]


# ---- positions


@pytest.mark.parametrize("model", ["decoder", "gpt2", "bert-tiny"])
def test_positions_can_be_set(model: str) -> None:
    long: dict[str, object] = {"workload.sequence_length": 4096}
    with pytest.raises(InputError, match=r"learned positions[^$]*model\.positions"):
        elector.simulate(model, "h100-sxm-80gb", settings=long)
    result: Any = elector.simulate(
        model, "h100-sxm-80gb", settings={**long, "model.positions": 4096}
    )
    usual: Any = elector.simulate(model, "h100-sxm-80gb")
    before = usual["settings"]["model.positions"]["value"]
    width = usual["settings"]["model.hidden"]["value"]
    assert result["parameters"] - usual["parameters"] == (4096 - before) * width
    assert result["settings"]["model.positions"] == {"value": 4096, "default": False}


@pytest.mark.parametrize(("prompt", "most"), [(1024, 1), (1000, 25), (512, 513)])
def test_the_last_token_takes_no_position(prompt: int, most: int) -> None:
    """It goes through no layer: a prompt as long as the table could not be asked for as engines
    measure it, by its first token."""
    length = {"workload.sequence_length": prompt}
    run: Any = elector.simulate(
        "gpt2", "h100-sxm-80gb", settings=length | {"workload.generate": most}
    )
    assert run["latency_s"] > 0.0
    with pytest.raises(InputError, match=r"1024 learned positions \(got 1025\)"):
        elector.simulate("gpt2", "h100-sxm-80gb", settings=length | {"workload.generate": most + 1})


def test_positions_of_a_rotary_model_change_nothing_and_it_is_said() -> None:
    result: Any = elector.simulate("mistral-7b", "h100-sxm-80gb", settings={"model.positions": 99})
    assert any(note.startswith("model.positions changes nothing") for note in result["notes"])


# ---- attention that does not fit


def test_a_design_whose_scores_do_not_fit_is_pointed_to_flash() -> None:
    settings: dict[str, object] = {
        "workload.mode": "training",
        "workload.batch": 96,
        "workload.sequence_length": 512,
        "workload.attention": "unfused",
        "accelerator.memory_capacity": "25 GB",
    }
    result: Any = elector.simulate("bert-base", "a100-sxm-40gb", settings=settings)
    assert not result["feasible"] and "workload.attention=flash needs" in result["reason"]
    flash: Any = elector.simulate(
        "bert-base", "a100-sxm-40gb", settings={**settings, "workload.attention": "flash"}
    )
    assert flash["feasible"] == ("and fits" in result["reason"])
    table = elector.sweep([{"model": "bert-base", "accelerator": "a100-sxm-40gb", **settings}])
    assert table["reason"].iloc[0] == result["reason"]


def test_where_scores_are_not_to_blame_nothing_is_promised() -> None:
    small: dict[str, object] = {"accelerator.memory_capacity": "1 MB"}
    for more in ({"workload.attention": "flash"}, {}):
        result: Any = elector.simulate("bert-base", "systolic", settings={**small, **more})
        assert not result["feasible"]
        if more:
            assert "flash" not in result["reason"]
        else:
            assert "and fits" not in result["reason"]
    listed: Any = elector.simulate(GEMM, "systolic", settings=small)
    assert "flash" not in listed["reason"]
