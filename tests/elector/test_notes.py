"""What is given and has no effect is said; the schema says where a key counts, and is right."""

from __future__ import annotations

import csv
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from commands import loaded, run
from quantized_llama import LLAMA

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, Column, schema
from elector.describe.formats import load_model
from elector.evaluation import applies
from elector.machines import MACHINES
from elector.studies.simulation import sweep

#: A preset of each kind of machine, and one of two.
ACCELERATORS = {kind: kind for kind in MACHINES} | {"reram": "isaac", "hybrid": "reram+systolic"}
GEMM = str(DATA / "gemms" / "bert-base-qkv.csv")
MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "encoder": ("bert-tiny", {}),
    "masked-lm": ("bert-tiny", {"model.head": "masked-lm"}),
    "decoder": ("decoder", {"model.layers": 2, "model.hidden": 128, "model.vocabulary": 999}),
    "encoder-decoder": ("t5-base", {"model.layers": 1}),
    "vision": ("vit-base", {"model.layers": 1}),
    "gemm": (GEMM, {}),
}
MODES = ("inference", "training")
#: Values that differ where a key has any effect.
VALUES: dict[str, tuple[object, ...]] = {
    "batch": (1, 3),
    "sequence_length": (64, 128),
    "target_length": (17, 64),
    "generate": (3, 9),
    "prefill_chunk": (16, 48),
    "gradient_accumulation": (1, 4),
    "metrics": (1, 3),
    "predictions": (3, 40),
    "tau_i": (0.02, 0.1),
    "tau_t": (0.02, 0.1),
    "sparsity": ("dense", "acceltran"),
    "trainable": ("all", "lora:4"),
    "task": ("sst2", "mnli"),
}
#: Keys whose value is either what the design computes with anyway, or refused.
CHECKED = ("mode", "precision")
#: What lets a machine do whatever is asked of it.
ABLE: dict[str, dict[str, object]] = {
    "reram": {
        "accelerator.tiles": 20_000,
        "accelerator.transposed_read": "copy",
        "accelerator.digital_macs": 1024,
        "accelerator.memory_capacity": "1 TB",
    }
}


#: A value that may come to the same as another one -> that one, while the key itself counts.
TWINS = {("activations", "selective"): "store"}


@dataclass(frozen=True)
class Row:
    """A value of a workload key: its figures, None where it is refused, and what is said."""

    key: str
    value: object
    figures: tuple[float, ...] | None
    said: list[str]


@functools.cache
def rows_of(kind: str, family: str, mode: str) -> tuple[Row, ...]:
    """Every value of every workload key on one machine, in one evaluation."""
    model, own = MODELS[family]
    base = {"model": model, "accelerator": ACCELERATORS[kind], **own, **ABLE.get(kind, {})}
    asked = [
        (key, value)
        for key, field in schema("workload").items()
        if key not in CHECKED
        for value in VALUES.get(key) or field.choices
    ]
    rows = [base | {"workload.mode": mode, f"workload.{key}": value} for key, value in asked]
    names = sorted({name for row in rows for name in row})
    columns = {name: Column.of([row.get(name) for row in rows]) for name in names}
    swept = sweep(columns, len(rows))
    assert swept.cost is not None
    figures = [swept.cost.scalar(name) for name in swept.cost.names()]
    notes, collected = swept.cost.notes(), []
    for (key, value), at in zip(asked, swept.place.tolist(), strict=True):
        mine = None if at < 0 else tuple(float(np.nan_to_num(f[at], nan=-1.0)) for f in figures)
        own_notes = [] if at < 0 else [n for n in notes[at] if n.startswith(f"workload.{key} ")]
        collected.append(Row(key, value, mine, own_notes))
    return tuple(collected)


def entry_of(rows: Sequence[Row]) -> str:
    """effect | refused | no effect | one value: what the values of a key come to."""
    accepted = {row.figures for row in rows} - {None}
    if len(accepted) != 1:
        return "effect" if accepted else "refused"
    return "one value" if any(row.figures is None for row in rows) else "no effect"


def entries(kind: str, family: str, mode: str) -> dict[str, tuple[str, list[Row]]]:
    """Workload key -> its entry, and the rows it rests on."""
    by_key: dict[str, list[Row]] = {}
    for row in rows_of(kind, family, mode):
        by_key.setdefault(row.key, []).append(row)
    return {key: (entry_of(rows), rows) for key, rows in by_key.items()}


def _quick(kind: str, family: str, mode: str) -> bool:
    """Machines with encoders, and most families on one: fast enough for all runs."""
    if kind == "gpu":
        return family in ("decoder", "encoder-decoder") and mode == "inference"
    return family == "encoder" and kind != "hybrid"


CASES = [
    pytest.param(
        kind,
        family,
        mode,
        marks=() if _quick(kind, family, mode) else pytest.mark.slow,
    )
    for kind in ACCELERATORS
    for family in MODELS
    for mode in MODES
]


@pytest.mark.parametrize(("kind", "family", "mode"), CASES)
def test_workload_keys_count_where_the_schema_says(kind: str, family: str, mode: str) -> None:
    """The table option x machine x mode: what has no effect is said, what has one is not."""
    for key, (entry, rows) in entries(kind, family, mode).items():
        counts = entry == "effect" or (entry == "one value" and not schema("workload")[key].applies)
        for row in rows:
            if row.figures is not None and applies.asks(row.value):
                where = f"{key}={row.value} is {entry}: {row.said}"
                other = TWINS.get((key, row.value))
                alone = any(r.value == other and r.figures == row.figures for r in rows)
                assert len(row.said) == (0 if counts and not alone else 1), where


def test_the_table_has_every_kind_of_entry() -> None:
    gpu, array = entries("gpu", "encoder", "training"), entries("systolic", "encoder", "inference")
    assert gpu["optimizer"][0] == gpu["optimizer_kernels"][0] == "effect"
    assert array["optimizer"][0] == "no effect"
    assert array["generate"][0] == "refused"
    assert array["implementation"][0] == "one value"


#: A model of every family and kind of layer, small enough for any machine.
KINDS_OF_MODELS: dict[str, dict[str, object]] = {
    "bert-tiny": {},
    "gpt2": {"model.layers": 2},
    "llama-2-7b": {"model.layers": 2},
    "gemma-2-9b": {"model.layers": 2},
    "mixtral-8x7b": {"model.layers": 2},
    "qwen3-30b-a3b": {"model.layers": 2},
    "deepseek-v3": {"model.layers": 4},
    "nemotron-h-8b": {"model.layers": 13},
    "modernbert-base": {"model.layers": 3},
    "t5-base": {"model.layers": 1},
    "whisper-small": {"model.layers": 1},
    "vit-base": {"model.layers": 1},
    "clip-vit-base": {"model.layers": 1},
    "hpt-snow": {"model.layers": 1},
    GEMM: {},
}
#: Values of a model's keys that no such model has of its own.
UNUSUAL: dict[str, tuple[object, ...]] = {
    "layers": (5,),
    "hidden": (1536,),
    "heads": (1, 64),
    "kv_heads": (1,),
    "head_size": (40,),
    "feed_forward": (1000,),
    "vocabulary": (2000,),
    "positions": (3000,),
    "window": (3, 32, 5000),
    "pattern": ("chunked", "mamba2", "feed-forward"),
    "experts": (24,),
    "experts_per_token": (1,),
    "expert_feed_forward": (300,),
    "shared_experts": (3,),
    "dense_layers": (2,),
    "routing": (0.7,),
    "q_lora_rank": (96,),
    "kv_lora_rank": (100,),
    "nope_head_size": (40,),
    "rope_head_size": (24,),
    "value_head_size": (48,),
    "index_heads": (3,),
    "index_head_size": (24,),
    "index_top_k": (40,),
    "state_size": (24,),
    "ignore_keys": ("rope_theta",),
}


@functools.cache
def of_model(model: str, given: tuple[tuple[str, object], ...]) -> tuple[dict[str, object], list]:
    """Results of a model on an array, and what is said."""
    settings = {"accelerator.memory_capacity": "10 TB", **KINDS_OF_MODELS[model], **dict(given)}
    result = dict(elector.simulate(model, "systolic", settings=settings))
    assert result["feasible"]
    notes = result.pop("notes")
    del result["settings"]
    assert isinstance(notes, list)
    return result, notes


@pytest.mark.parametrize(
    "asked",
    [
        *(pytest.param(way, marks=pytest.mark.slow) for way in ("unfused", "flash")),
        "generate",
        "train",
    ],
)
@pytest.mark.parametrize("model", KINDS_OF_MODELS, ids=lambda model: Path(model).stem)
def test_keys_of_a_model_move_figures_or_are_said_to_change_nothing(model: str, asked: str) -> None:
    """Each family x key: accepted and counted, accepted and said to be idle, or refused."""
    ways: dict[str, dict[str, object]] = {
        "unfused": {"workload.attention": "unfused"},
        "flash": {"workload.attention": "flash"},
        "generate": {"workload.generate": 4, "workload.attention": "unfused"},
        "train": {"workload.attention": "fused", "workload.mode": "training"},
    }
    if asked == "generate" and model not in ("gpt2", "gemma-2-9b", "deepseek-v3", "t5-base"):
        return
    way = ways[asked]
    plain, _ = of_model(model, tuple(way.items()))
    for key, field in schema("model").items():
        for value in UNUSUAL.get(key) or field.choices:
            own = {f"model.{key}": value}
            try:
                result, notes = of_model(model, tuple({**way, **own}.items()))
            except InputError as error:
                assert error.field and error.field.startswith("model."), (key, error)
                continue
            said = [n for n in notes if n.startswith(f"model.{key} changes nothing")]
            moved = result != plain
            own_head = key == "head" and value in ("none", load_model(model).head)
            assert own_head or len(said) == (not moved), (key, value, moved, said)


def test_images_have_no_words() -> None:
    """No token table, and no head that scores words, whatever is given."""
    for model in ("vit-base", "clip-vit-base", "hpt-snow", "hpt-wind"):
        plain = elector.simulate(model, "tpu-v4i")
        given = elector.simulate(model, "tpu-v4i", settings={"model.vocabulary": 2000})
        assert given["parameters"] == plain["parameters"]
        assert given["latency_s"] == plain["latency_s"]
        for head in ("masked-lm", "causal-lm", "pre-training"):
            with pytest.raises(InputError, match="no vocabulary") as caught:
                elector.simulate(model, "tpu-v4i", settings={"model.head": head})
            assert caught.value.field == "model.head" and "classifier" in caught.value.message()


def test_nothing_is_said_where_nothing_was_given() -> None:
    for kind, accelerator in ACCELERATORS.items():
        for model, own in MODELS.values():
            if kind != "reram" or model == "bert-tiny":
                result = elector.simulate(model, accelerator, settings=own)
                assert not [n for n in result["notes"] if "changes nothing" in n], (kind, model)


@pytest.mark.parametrize(
    ("model", "accelerator", "key", "value", "words"),
    [
        ("bert-tiny", "systolic", "optimizer", "sgd", "workload.mode is training"),
        ("bert-tiny", "systolic", "target-length", "9", "encoder-decoder"),
        (GEMM, "systolic", "batch", "8", "family of the model is not gemm"),
        (GEMM, "gpu", "attention", "flash", "not gemm"),
        ("vit-base", "gpu", "sequence-length", "77", "encoder or decoder"),
    ],
)
def test_a_line_on_standard_error(
    model: str, accelerator: str, key: str, value: str, words: str
) -> None:
    result = run("simulate", model, accelerator, f"--{key}", value)
    name = f"workload.{key.replace('-', '_')}"
    (line,) = [line for line in result.stderr.splitlines() if name in line]
    assert "changes nothing" in line and words in line
    assert name not in result.stdout.partition("\n\n")[2]
    notes = loaded("simulate", model, accelerator, f"--{key}", value, "--format", "json")["notes"]
    assert any(name in note for note in notes)


def test_thresholds_count_with_a_table_that_has_them() -> None:
    settings: dict[str, object] = {"workload.tau_i": 0.05}
    (note,) = elector.simulate("bert-tiny", "acceltran-edge", settings=settings)["notes"]
    assert "thresholds tau_i" in note
    settings["workload.sparsity"] = "dynatran"
    result = elector.simulate("bert-base", "acceltran-edge", settings=settings)
    assert not [note for note in result["notes"] if "tau_i" in note]


@pytest.mark.parametrize(
    ("accelerator", "settings", "key", "value", "counts"),
    [
        ("systolic", {}, "trainable", "heads", False),
        ("systolic", {}, "trainable", "lora:4", True),
        ("hpt", {}, "trainable", "heads", True),  # it assigns its operations by it
        ("systolic", {"mode": "training"}, "trainable", "heads", True),
        ("systolic", {"mode": "training", "trainable": "heads"}, "activations", "recompute", False),
        ("systolic", {"mode": "training", "trainable": "lora:4"}, "activations", "recompute", True),
        ("gpu", {"mode": "training", "optimizer": "none"}, "optimizer_kernels", "fused", False),
        ("gpu", {"mode": "training", "optimizer": "sgd"}, "optimizer_kernels", "fused", True),
        ("acceltran-server", {"sparsity": "dynatran"}, "tau_t", 0.001, False),
        ("acceltran-server", {"sparsity": "dynatran", "mode": "training"}, "tau_t", 0.001, True),
    ],
)
def test_what_only_some_steps_ask_for(
    accelerator: str, settings: dict[str, object], key: str, value: object, counts: bool
) -> None:
    """Settings of training, where nothing trains or another setting leaves them nothing to do."""
    base = {f"workload.{name}": given for name, given in settings.items()}
    without, with_it = (
        elector.simulate("bert-tiny", accelerator, settings=base | more)
        for more in ({}, {f"workload.{key}": value})
    )
    results = ("latency_s", "energy_j", "memory_bytes", "parameters")
    assert any(without[name] != with_it[name] for name in results) is counts
    said = [n for n in with_it["notes"] if n.startswith(f"workload.{key} changes nothing")]
    assert len(said) == (not counts)


@pytest.mark.parametrize(
    ("accelerator", "model", "key", "value", "settings", "counts"),
    [
        ("acceltran-edge", "bert-tiny", "run_ahead", 4, {}, False),
        ("acceltran-edge", "gemm:512x1024x2048", "run_ahead", 4, {"sparsity": "acceltran"}, True),
        ("acceltran-edge", "bert-tiny", "clustering", 3.0, {}, False),
        (
            "acceltran-edge",
            "gemm:512x1024x2048",
            "clustering",
            3.0,
            {"sparsity": "acceltran"},
            True,
        ),
        ("acceltran-edge", GEMM, "unit_cycles", "tile", {}, False),
        ("acceltran-edge", "bert-tiny", "unit_cycles", "tile", {}, True),
        ("isaac", GEMM, "dynamic", "write", {}, False),
        ("systolic", "bert-base", "double_buffer", False, {}, True),
        ("acceltran-edge", "bert-base", "double_buffer", False, {}, True),
        ("acceltran-edge-released", "bert-base", "double_buffer", False, {}, False),
    ],
)
def test_settings_of_a_machine_that_some_work_leaves_idle(
    accelerator: str,
    model: str,
    key: str,
    value: object,
    settings: dict[str, object],
    counts: bool,
) -> None:
    base = {f"workload.{name}": given for name, given in settings.items()}
    without, with_it = (
        elector.simulate(model, accelerator, settings=base | more)
        for more in ({}, {f"accelerator.{key}": value})
    )
    results = ("latency_s", "energy_j", "area_mm2")
    assert any(without[name] != with_it[name] for name in results) is counts
    said = [n for n in with_it["notes"] if n.startswith(f"accelerator.{key} changes nothing")]
    assert len(said) == (not counts)


@pytest.mark.parametrize(
    ("wrong", "meant"), [("foo", ""), ("sst3", "sst2"), ("SQAD", "squad"), ("digit", "digits")]
)
def test_a_task_that_is_none_is_refused(wrong: str, meant: str) -> None:
    for function in (elector.simulate, elector.trace):
        with pytest.raises(InputError, match="unknown task") as caught:
            function("bert-tiny", "systolic", settings={"workload.task": wrong})
        assert caught.value.field == "workload.task" and "sst2" in caught.value.message()
        assert not meant or f"did you mean {meant}?" in caught.value.message()
    result = run("simulate", "bert-tiny", "systolic", "--set", f"workload.task={wrong}")
    assert result.exit_code == 2 and not result.stdout


@pytest.mark.parametrize("task", ["sst2", "SST-2", "lambada_openai", "elnino", "mine.csv"])
def test_names_and_files_of_tasks_are_accepted(task: str) -> None:
    notes = elector.simulate("bert-tiny", "systolic", settings={"workload.task": task})["notes"]
    assert notes == ["workload.task changes nothing: it counts where an accuracy is asked for"]


@pytest.mark.parametrize(
    ("model", "beside", "key", "values", "counts"),
    [
        ("t5-base", {"generate": 8}, "target_length", (32, 64), False),
        ("t5-base", {}, "target_length", (32, 64), True),
        ("t5-base", {"generate": 8}, "sequence_length", (32, 64), True),
        ("whisper-small", {"generate": 8}, "sequence_length", (32, 64), False),
        ("whisper-small", {"target_length": 16}, "sequence_length", (32, 64), False),
        ("whisper-small", {}, "sequence_length", (32, 64), True),
        ("gpt2", {}, "kv_cache", ("int8", "int4"), False),
        ("gpt2", {"prefill_chunk": 32}, "kv_cache", ("int8", "int4"), True),
        ("gpt2", {"prefill_chunk": 128}, "kv_cache", ("int8", "int4"), False),
        ("gpt2", {"generate": 4}, "kv_cache", ("int8", "int4"), True),
    ],
)
@pytest.mark.parametrize("accelerator", ["a100-sxm-80gb", "tpu-v4i", "acceltran-server"])
def test_settings_that_another_one_leaves_idle(
    accelerator: str,
    model: str,
    beside: dict[str, object],
    key: str,
    values: tuple[object, ...],
    counts: bool,
) -> None:
    """Two values of a setting differ if and only if nothing is said of either."""
    if "prefill_chunk" in beside and accelerator != "a100-sxm-80gb":
        return
    if key == "kv_cache" and accelerator == "acceltran-server":
        return
    base = {f"workload.{name}": value for name, value in beside.items()}
    results = [
        elector.simulate(model, accelerator, settings={**base, f"workload.{key}": value})
        for value in values
    ]
    names = ("latency_s", "energy_j", "memory_bytes", "macs")
    assert any(results[0][name] != results[1][name] for name in names) is counts
    for result in results:
        said = [n for n in result["notes"] if n.startswith(f"workload.{key} changes nothing")]
        assert len(said) == (not counts)


def test_more_predictions_than_positions_are_refused() -> None:
    settings = {"model.head": "masked-lm", "workload.predictions": 129}
    with pytest.raises(InputError, match="has 128 positions") as caught:
        elector.simulate("bert-tiny", "systolic", settings=settings)
    assert caught.value.field == "workload.predictions"
    elector.simulate("bert-tiny", "systolic", settings=settings | {"workload.predictions": 128})


def test_how_many_positions_a_masked_lm_head_trains_on_is_said() -> None:
    for length, shown in ((128, "20 of the 128"), (512, "80 of the 512")):
        settings: dict[str, object] = {
            "model.head": "masked-lm",
            "workload.mode": "training",
            "workload.sequence_length": length,
        }
        (note,) = elector.simulate("bert-tiny", "systolic", settings=settings)["notes"]
        assert f"trains on {shown} positions" in note
        settings["workload.mode"] = "inference"
        assert not elector.simulate("bert-tiny", "systolic", settings=settings)["notes"]
        settings["workload.predictions"] = 20
        (note,) = elector.simulate("bert-tiny", "systolic", settings=settings)["notes"]
        assert note.startswith("workload.predictions changes nothing")


def test_a_column_of_a_sweep(tmp_path: Path) -> None:
    table, out = tmp_path / "t.csv", tmp_path / "o.csv"
    table.write_text(
        "model,accelerator,workload.optimizer,workload.mode\n"
        "bert-tiny,systolic,sgd,inference\nbert-tiny,systolic,sgd,training\n"
        "bert-tiny,systolic,,inference\n"
    )
    result = run("sweep", str(table), "--out", str(out))
    assert result.exit_code == 0
    assert result.stderr.count("workload.optimizer changes nothing") == 1
    rows = list(csv.DictReader(out.open()))
    assert [bool(row["notes"]) for row in rows] == [True, False, False]
    assert {row["version"] for row in rows} == {elector.__version__}
    again = tmp_path / "again.csv"
    assert run("sweep", str(out), "--out", str(again)).exit_code == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("length", "generate", "said"), [(4096, 0, False), (4097, 0, True), (4090, 10, True)]
)
def test_a_sequence_beyond_the_positions_of_a_file_is_said(
    tmp_path: Path, length: int, generate: int, said: bool
) -> None:
    """Rotary positions bound nothing; the file says how many the model was made for."""
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA))
    sizes = {"workload.sequence_length": length, "workload.generate": generate}
    notes = elector.simulate(file, "a100-sxm-80gb", settings=sizes)["notes"]
    assert isinstance(notes, list)
    beyond = [note for note in notes if "longer than the" in note]
    assert len(beyond) == said
    assert all(
        f"{length + generate:,}" in note or str(length + generate) in note for note in beyond
    )
