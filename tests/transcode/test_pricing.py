"""Nothing that changes an accuracy is free: the whole schema, searched and fixed away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_fakes import SMALL, fake

import transcode
from elector.base.errors import InputError
from elector.base.table import CHANGES, NEUTRAL, Field, schema
from elector.evaluation.accelerators import load_accelerator
from transcode import accuracy
from transcode.accuracy.recipe import (
    MeasuredWith,
    accuracy_class,
    format_prices,
    measured_with,
)
from transcode.search import proxies
from transcode.space import load
from transcode.space.pricing import number_formats
from transcode.space.resolved import accelerator_settings

ROOT = Path(__file__).resolve().parents[2]
MACHINES = (
    "systolic",
    "acceltran",
    "a100-sxm-40gb",
    "reram",
    "isaac",
    "puma",
    "reram+systolic",
    "hpt",
    "tpu-v4i",
)
KEYS = [(m, key) for m in MACHINES for key in load_accelerator(m).machine.fields]
SIZES = ("layers", "hidden", "heads", "feed_forward")
TABLE = "name,task,metric,score,std,layers,hidden,heads,feed_forward,parameters,source,evidence"


def described(**changed: Any) -> dict[str, Any]:
    """A space that is accepted: an encoder on one machine, scored on SST-2."""
    return {
        "model": {"base": "encoder"},
        "accelerator": {"base": "systolic"},
        "workload": {"task": "sst2"},
        "objectives": {"accuracy": "max", "latency_s": "min"},
        **changed,
    }


def with_key(section: str, base: str, key: str, value: Any, **changed: Any) -> dict[str, Any]:
    return described(**{section: {"base": base, key: value}, **changed})


def two_values(field: Field) -> list[Any]:
    """Two values the field may have, the default among them where there is one."""
    if field.type == "bool":
        return [True, False]
    if field.type == "text":
        return ["all", "heads"] if field.key == "trainable" else ["dense", "dynatran"]
    usual = field.default
    if field.choices:
        first = usual if usual is not None else field.choices[0]
        return [first, next(c for c in field.choices if c != str(first))]
    low, high = field.low or 0.0, field.high or 1.0
    middle = usual if usual is not None else (int(low) if field.type == "int" else low)
    others = (2 * float(middle), float(middle) / 2, low, high, low + 1)
    whole = field.type == "int"
    return [
        middle,
        next(int(o) if whole else o for o in others if low <= o <= high and o != middle),
    ]


def away(field: Field, measured: MeasuredWith | None) -> Any:
    """A value that the accuracy rows were not measured with."""
    usual = field.default
    if measured is None:
        return two_values(field)[1]
    candidates: list[Any] = list(field.choices)
    if not candidates:
        low, high = field.low or 1.0, field.high or 64.0
        candidates = [int(low), int(high), int(min(high, 300)), int(min(high, 77))]
    return next(c for c in candidates if not measured.holds(c) and c != usual)


def refused(space: dict[str, Any]) -> str:
    """What is said against its accuracy; "" where it is accepted, or has no effect at all."""
    try:
        load(space)
    except InputError as error:
        return "" if "changes nothing in this space" in str(error) else str(error)
    return ""


# ---- the whole schema


def test_the_spaces_that_the_walk_starts_from_are_accepted() -> None:
    for machine in MACHINES:
        assert not refused(described(accelerator={"base": machine}))
    for path in sorted((ROOT / "spaces").glob("*.yaml")):
        load(path)
    assert load("elector").parameters and not load("elector").uses_accuracy
    shown = {p.name: p.values for p in load("transcode").parameters}
    assert shown["accelerator.nonlinearity"] == ("gelu",)
    both = {p.name: p.values for p in load("elector").parameters}
    assert both["accelerator.nonlinearity"] == ("relu", "gelu")


@pytest.mark.parametrize(("machine", "key"), KEYS, ids=[f"{m}:{k}" for m, k in KEYS])
def test_every_setting_of_a_machine_is_neutral_or_refused(machine: str, key: str) -> None:
    field = load_accelerator(machine).machine.fields[key]
    if len(field.choices) == 1:
        return  # there is nothing else to set
    values = two_values(field)
    said = refused(with_key("accelerator", machine, key, values))
    if field.accuracy == NEUTRAL:
        assert bool(said) == ("not for a search to choose" in said) == bool(field.fixed)
        assert not refused(with_key("accelerator", machine, key, values[1]))
        return
    assert "no accuracy source prices" in said and f"accelerator.{key}" in said
    setting = next(
        s
        for s in accelerator_settings(load(described(accelerator={"base": machine})))
        if s.key == key.rpartition(".")[2] and s.name == f"accelerator.{key}"
    )
    measured = measured_with(setting.schema, setting.key)
    if setting.is_format:
        other = next((c for c in field.choices if c not in format_prices()), None)
        if other is None:
            return
    elif measured is not None and set(field.choices) <= set(measured.text.split("|")) != set():
        return  # the rows hold for all there are
    else:
        other = away(field, measured)
    said = refused(with_key("accelerator", machine, key, other))
    assert "no accuracy source prices it" in said and "measured with" in said
    # the way out that the message names, and no accuracy at all
    assert f"a column accelerator.{key}" in said
    without = with_key("accelerator", machine, key, values)
    del without["objectives"]["accuracy"], without["workload"]["task"]
    load(without)


@pytest.mark.parametrize("key", list(schema("model")))
@pytest.mark.parametrize(("base", "task"), [("encoder", "sst2"), ("decoder", "lambada")])
def test_every_setting_of_a_model_is_priced_or_refused(key: str, base: str, task: str) -> None:
    field = schema("model")[key]
    assert field.accuracy == CHANGES
    workload = {"task": task, "sequence_length": 256}
    values = [2, 4] if field.type in ("int", "float") else ["pooler", "causal-lm"]
    said = refused(with_key("model", base, key, values, workload=workload))
    if key in SIZES:
        assert not said
        assert not refused(with_key("model", base, key, 2, workload=workload))
        return
    assert "no accuracy source prices it" in said
    other = 7 if field.type in ("int", "float") else "masked-lm"
    said = refused(with_key("model", base, key, other, workload=workload))
    assert "no accuracy source prices it" in said and f"model.{key}" in said


@pytest.mark.parametrize("key", list(schema("workload")))
@pytest.mark.parametrize("where", ["workload", "workloads"])
def test_every_setting_of_a_workload_is_neutral_or_refused(key: str, where: str) -> None:
    if key == "task":
        return
    field = schema("workload")[key]
    values = two_values(field)

    def asked(value: Any) -> str:
        training = {"mode": "training"}
        if where == "workload":
            return refused(described(workload={"task": "sst2", **training, key: value}))
        objectives = {"accuracy": "max", "serve.latency_s": "min"}
        workloads = {"serve": {**training, key: value}, "other": {}}
        return refused(described(workloads=workloads, objectives=objectives))

    if where == "workload":
        assert bool(asked(values)) == (field.accuracy == CHANGES)
    if field.accuracy == NEUTRAL:
        assert not asked(values[1])
        return
    special = {"sparsity": "acceltran", "tau_i": 0.5, "tau_t": 0.5, "sequence_length": 8}
    measured = measured_with("workload", key)
    other = special.get(key, away(field, measured) if field.type != "text" else values[1])
    said = asked(other)
    assert "no accuracy source prices it" in said or "one model has one accuracy" in said


def test_layers_of_a_model_are_priced() -> None:
    space = described(
        model={
            "base": "flexibert",
            "layers": [2, 4],
            "hidden": [128, 256],
            "heads": [2, 4],
            "head_types": ["sdp", "dft", "c5", "wma"],
            "feed_forward": {"stacks": 2, "choices": [256, 512]},
            "layer1.hidden": 256,
        },
        accelerator="acceltran-edge",
    )
    assert not refused(space)
    for key in schema("layer"):
        assert schema("layer")[key].accuracy == CHANGES
    space["workload"] = {"task": "sst2", "sequence_length": [8, 128]}
    assert "workload.sequence_length" in refused(space)


# ---- more than one of them


def test_each_of_several_accelerators_is_looked_at() -> None:
    choices = [{"base": "reram", "tiles": [168, 336]}, {"base": "puma", "adc_bits": [4, 8]}]
    assert "accelerator.adc_bits" in refused(described(accelerator=choices))
    choices[1] = {"base": "puma", "adc_bits": 4}
    assert "(got 4)" in refused(described(accelerator=choices))
    choices[1] = {"base": "puma", "adc_bits": 9}
    assert not refused(described(accelerator=choices))
    choices[1] = {"base": "tpu-v2"}
    assert "different accuracy" in refused(described(accelerator=choices))


def test_a_unit_of_a_hybrid_is_not_a_way_around() -> None:
    for key, value in (
        ("units.tier.input_bits", [1, 16]),
        ("units.tier.weight_bits", 4),
        ("units.array.datapath", "int8"),
        ("units.array.datapath", ["bf16", "int8"]),
        ("units.tier.datapath", "int8"),
    ):
        said = refused(with_key("accelerator", "reram+systolic", key, value))
        assert f"accelerator.{key}" in said and "no accuracy source prices it" in said
    assert not refused(with_key("accelerator", "reram+systolic", "units.array.rows", [32, 64]))


def test_a_file_of_ones_own_is_not_a_way_around(tmp_path: Path) -> None:
    chip = tmp_path / "chip.yaml"
    chip.write_text("base: reram\nweight_bits: 1\ndescription: x\nsource: y\n")
    assert "weight_bits" in refused(described(accelerator=str(chip)))
    chip = tmp_path / "other.yaml"
    chip.write_text("base: acceltran-edge\nnonlinearity: relu\ndescription: x\nsource: y\n")
    assert "nonlinearity" in refused(described(accelerator=str(chip)))
    for line, words in (
        ("kv_heads: 1", "kv_heads 1"),
        ("activation: relu", "activation relu"),
        ("window: 16", "window 16"),
        ("vocabulary: 100", "vocabulary 100"),
        ("gated: true", "gated True"),
        ("head: none", "head none"),
    ):
        path = tmp_path / "model.yaml"
        path.write_text(f"base: bert-base\n{line}\n")
        said = refused(described(model=str(path)))
        assert f"has {words}" in said and "no accuracy source prices it" in said, line
    path.write_text("base: bert-base\nsource: the same by another name\n")
    assert not refused(described(model=str(path)))


@pytest.mark.parametrize("base", ["llama-2-7b", "vit-base", "t5-base", "gpt2", "hpt-weather"])
def test_models_of_another_kind_have_no_score_on_glue(base: str) -> None:
    assert "no accuracy source prices it" in refused(described(model={"base": [base]}))


def test_a_size_may_be_written_where_it_follows_from_others() -> None:
    model = {"base": "encoder", "hidden": [256, 512], "heads": [4, 8]}
    same = {**model, "kv_heads": {"multiple_of": "heads", "choices": [1]}}
    assert not refused(described(model=same))
    fewer = {**model, "kv_heads": {"multiple_of": "heads", "choices": ["1/2", 1]}}
    assert "model.kv_heads" in refused(described(model=fewer))
    assert "model.kv_heads" in refused(described(model={**model, "kv_heads": 4}))
    fixed = {"base": "encoder", "hidden": 512, "heads": 8}
    assert not refused(described(model={**fixed, "head_size": 64, "kv_heads": 8}))
    assert "measured with hidden // heads" in refused(described(model={**fixed, "head_size": 32}))
    by_width = {"base": "encoder", "hidden": [256, 512]}
    by_width |= {"heads": {"multiple_of": "hidden", "choices": ["1/64"]}, "head_size": 64}
    assert not refused(described(model=by_width))


def test_training_in_pure_16_bits_is_another_training() -> None:
    serve, tune = {"mode": "inference", "precision": "bf16"}, {"mode": "training"}
    objectives = {"accuracy": "max", "tune.latency_s": "min"}
    more = {"objectives": objectives, "workloads": {"serve": serve, "tune": tune}}
    assert not refused(described(**more))
    tune["precision"] = "bf16-amp"
    assert not refused(described(**more))
    tune["precision"] = "bf16"
    assert "workloads.tune.precision" in refused(described(**more))


@pytest.mark.parametrize("task", accuracy.tasks())
def test_every_task_says_which_lengths_it_was_scored_with(task: str) -> None:
    known = accuracy.find_task(task)
    assert known is not None
    base = "encoder" if known.kind == "encoder" else "decoder"
    lengths = MeasuredWith(known.sequence_length)
    for length in (8, 128, 256, 512, 1024, 4096):
        space = described(model=base, workload={"task": task, "sequence_length": length})
        said = refused(space)
        assert bool(said) != lengths.holds(length)
        assert not said or "workload.sequence_length" in said


# ---- other sources


def test_what_is_trained_here_prices_the_models_and_nothing_of_the_machine() -> None:
    trained = {"accuracy": {"source": "trained"}, "workload": {"task": "digits"}}
    assert not refused(with_key("model", "encoder", "kv_heads", [1, 12], **trained))
    assert not refused(with_key("model", "encoder", "head_size", [16, 64], **trained))
    assert not refused(with_key("model", "gpt2", "layers", [2, 4], **trained))
    for key in ("vocabulary",):
        assert "prices it" in refused(with_key("model", "encoder", key, [100, 200], **trained))
    assert "prices it" in refused(with_key("accelerator", "reram", "adc_bits", [1, 8], **trained))
    relu = with_key("accelerator", "acceltran", "nonlinearity", "relu", **trained)
    assert "measured with gelu" in refused(relu)
    # and says so where another source could not
    said = refused(with_key("model", "encoder", "kv_heads", [1, 12]))
    assert "accuracy: {source: trained}" in said


def test_what_is_simulated_is_what_is_trained() -> None:
    decided = {"workload.sequence_length": 16, "model.vocabulary": 17}
    more = {"accuracy": {"source": "trained"}}

    def said(**changed: Any) -> str:
        try:
            proxies._require_trained_with(load(described(**changed, **more)), decided)
        except InputError as error:
            return str(error)
        return ""

    own = {"task": "digits", "sequence_length": 16}
    assert not said(workload=own)
    assert not said(workload=own, model={"base": "encoder", "vocabulary": 17})
    assert "trained with 17" in said(workload=own, model={"base": "encoder", "vocabulary": 99})
    assert "trained with 16 (got 64)" in said(workload={**own, "sequence_length": 64})
    assert "trained with 16 (got 128)" in said(workload={"task": "digits"})
    several = {"workloads": {"a": {}, "b": {"sequence_length": 8}}, "workload": own}
    several["objectives"] = {"accuracy": "max", "a.latency_s": "min"}
    assert "workloads.b.sequence_length" in said(**several)


def test_a_task_of_the_users_own_is_scored_with_what_only_the_user_knows(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    lines = [f"m{i},mine,accuracy,{80 + i},1,{i},128,2,512,,own,measured" for i in range(1, 6)]
    rows.write_text("\n".join([TABLE, *lines]) + "\n")
    for source in ("surrogate", "table"):
        own = {"accuracy": {"source": source, "rows": str(rows)}}
        assert not refused(described(workload={"task": "mine", "sequence_length": 8}, **own))
        both = described(workload={"task": "mine", "sequence_length": [8, 16]}, **own)
        assert "no accuracy source prices it" in refused(both)
        assert "prices it" in refused(with_key("accelerator", "reram", "input_bits", 1, **own))


def table_of(path: Path, column: str, values: tuple[object, ...]) -> str:
    """Rows of one task; the score falls from value to value of the column."""
    lines = [f"{TABLE},{column}"]
    for layers in (2, 4):
        for i, value in enumerate(values):
            score = 80 + layers - 3 * i
            lines.append(f"m,sst2,accuracy,{score},0.5,{layers},128,2,512,,own,measured,{value}")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize(
    ("section", "key", "values"),
    [
        ("workload", "sequence_length", (128, 8)),
        ("accelerator", "datapath", ("bf16", "int8")),
        ("model", "kv_heads", (2, 1)),
    ],
)
def test_a_column_of_a_table_prices_its_setting(
    tmp_path: Path, section: str, key: str, values: tuple[object, ...]
) -> None:
    rows = table_of(tmp_path / "rows.csv", f"{section}.{key}", values)
    space = described(
        model={"base": "encoder", "layers": [2, 4], "hidden": 128, "heads": 2, "feed_forward": 512},
        accelerator={"base": "systolic", "rows": [16, 32], "dataflow": "ws"},
        accuracy={"source": "table", "rows": rows},
    )
    space[section] = {**space[section], key: list(values)}
    if section == "accelerator":
        space["objectives"] = {"accuracy": "max", "latency_s": "min"}
    result = transcode.search(
        space, out=tmp_path / "run", evaluator=fake, sampler="enumerate", jobs=1
    )
    frame = result.frame
    assert result.manifest["designs"] == 8 and frame["accuracy"].max() == 84.0
    assert f"also prices {section}.{key}" in result.manifest["accuracy"]["text"]
    best = frame[frame["accuracy"] == 84.0]
    assert (best[f"{section}.{key}"] == values[0]).all()


def test_a_table_without_the_column_prices_nothing_else(tmp_path: Path) -> None:
    rows = table_of(tmp_path / "rows.csv", "note", ("", ""))
    own = {"accuracy": {"source": "table", "rows": rows}}
    said = refused(described(workload={"task": "sst2", "sequence_length": [8, 128]}, **own))
    assert "with rows that have a column workload.sequence_length" in said
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(f"{TABLE},workload.sequence_lenght\n")
    with pytest.raises(InputError, match="unknown column"):
        accuracy.source_of(accuracy.AccuracySettings("table", str(wrong)), "sst2")


def test_workloads_do_not_set_apart_what_a_column_prices(tmp_path: Path) -> None:
    rows = table_of(tmp_path / "rows.csv", "workload.sequence_length", (128, 8))
    space = described(
        accuracy={"source": "table", "rows": rows},
        workloads={"serve": {"sequence_length": 8}},
        objectives={"accuracy": "max", "serve.latency_s": "min"},
    )
    assert "one model has one accuracy" in refused(space)


def test_a_loss_is_of_decoders_as_they_were_trained() -> None:
    loss = {"accuracy": "scaling-law", "objectives": {"loss": "min", "latency_s": "min"}}
    loss["workload"] = {}
    assert not refused(with_key("model", "decoder", "layers", [2, 4], **loss))
    for key, value in (("vocabulary", [100, 50257]), ("vocabulary", 100), ("kv_heads", [1, 12])):
        assert "prices it" in refused(with_key("model", "decoder", key, value, **loss))
    loss["workload"] = {"sequence_length": 8}
    assert "prices it" in refused(described(model="decoder", **loss))


# ---- number formats


def test_formats_that_no_score_was_measured_in_cost_certainty() -> None:
    assert {accuracy_class(n) for n in ("fp32", "tf32", "bf16", "fp16")} == {
        "16-bit float or wider"
    }
    assert "int8" not in format_prices() and "fp8" not in format_prices()
    assert number_formats(load(described())) == ("bf16",)
    assert set(number_formats(load(described(accelerator="hpt")))) == {"bf16", "fixed16"}
    assert accuracy.format_cost(("bf16", "fp32"), False) is None
    cost = accuracy.format_cost(("bf16", "fixed20"), False)
    assert cost is not None and cost.mean == 0.0 and cost.std > 0.0
    assert "fixed20" in cost.describe() and "assumed" in cost.describe()


def test_a_fixed_point_machine_is_less_sure_and_says_so(tmp_path: Path) -> None:
    def run(base: str) -> transcode.Result:
        space = {
            **SMALL,
            "workload": {"task": "sst2"},
            "objectives": {"accuracy": "max", "latency_s": "min"},
            "accelerator": {"base": base},
            "constraints": [],
        }
        return transcode.search(
            space, out=tmp_path / base, sampler="enumerate", jobs=1, budget=None
        )

    fixed, wide = run("acceltran-edge"), run("tpu-v4i")
    assert "number format (fixed20)" in fixed.manifest["accuracy"]["text"]
    assert "number format" not in wide.manifest["accuracy"]["text"]
    best = [r.frame.sort_values("accuracy").iloc[-1] for r in (fixed, wide)]
    assert best[0]["accuracy"] == best[1]["accuracy"]
    more = np.sqrt(best[1]["accuracy_std"] ** 2 + 0.2**2)
    assert best[0]["accuracy_std"] == pytest.approx(more)
