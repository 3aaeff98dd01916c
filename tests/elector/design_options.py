"""What each option of a design changes, in the five commands of `elector` that take it."""

from __future__ import annotations

import functools
import html
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from option_cases import Cases

from elector.base.quantity import pretty
from elector.cli.commands import main
from elector.cost.results import registry

CASES = Cases(main)
done, case = CASES.done, CASES.of
PAIR = ("bert-tiny", "systolic")
DECODER = ("decoder", "systolic", "--set", "model.layers=2", "--set", "model.hidden=128")
DECODER += ("--set", "model.heads=2")
TRAINING = ("--mode", "training")
#: Dearer main memory.
CONSTANTS = """part,quantity,value,unit,node_nm,law,source,evidence
dram.hbm2,energy,100,pJ/bit,,,mine,assumed
"""
PRODUCTS = "name,m,n,k\na,64,500,500\nb,64,500,500\n"
#: Room for one of the products, or for both.
TIGHT = ("--set", "accelerator.memory_capacity=800 kB")


def loaded(*words: object) -> Any:
    return json.loads(done(*words, "--format", "json").stdout)


@dataclass(frozen=True)
class Effect:
    """What an option changes in the costs of one design.

    given : the option and its value. pair : model, accelerator and what else is given on both
    sides. says : whether the help is right, of the costs without and with the option.
    result : a result that has to move. before : exit code of `simulate` without the option.
    """

    given: tuple[str, str]
    pair: tuple[str, ...]
    says: Callable[[Any, Any], bool]
    result: str = "energy_j"
    before: int = 0


def falls(group: str, key: str, by: float | None = None) -> Callable[[Any, Any], bool]:
    """Whether one part of a breakdown falls, to the share `by` where it is known."""

    def says(before: Any, after: Any) -> bool:
        share = after[group][key] / before[group][key]
        return share < 1 if by is None else share == pytest.approx(by)

    return says


def times(name: str, factor: float) -> Callable[[Any, Any], bool]:
    return lambda before, after: after[name] == pytest.approx(factor * before[name])


EFFECTS = (
    Effect(("--mode", "training"), PAIR, lambda b, a: "backward" in a["energy_by_phase_j"]),
    Effect(("--batch", "4"), PAIR, times("macs", 4)),
    Effect(("--sequence-length", "64"), PAIR, lambda b, a: 2 * a["macs"] < b["macs"]),
    Effect(
        ("--target-length", "32"),
        ("t5-base", "systolic"),
        lambda b, a: b["macs"] / 2 < a["macs"] < b["macs"],
    ),
    Effect(
        ("--generate", "8"),
        DECODER,
        lambda b, a: "tokens_per_s" in a and "tokens_per_s" not in b,
    ),
    Effect(
        ("--precision", "int8"),
        ("bert-tiny", "a100-sxm-80gb", "--set", "workload.implementation=tensorrt"),
        falls("memory_bytes", "activations", 0.5),
    ),
    Effect(("--weights", "int4"), PAIR, falls("memory_bytes", "weights")),
    Effect(
        ("--kv-cache", "int8"), (*DECODER, "--generate", "8"), falls("memory_bytes", "cache", 0.5)
    ),
    Effect(("--optimizer", "sgd"), (*PAIR, *TRAINING), falls("memory_bytes", "optimizer", 0.0)),
    Effect(
        ("--activations", "recompute"),
        (*PAIR, *TRAINING),
        lambda b, a: a["memory_bytes"]["activations"] < b["memory_bytes"]["activations"],
    ),
    Effect(("--attention", "flash"), (*PAIR, *TRAINING), falls("memory_bytes", "activations")),
    Effect(
        ("--residency", "none"),
        ("products.csv", "systolic", *TIGHT),
        lambda b, a: not b["feasible"] and a["feasible"],
        before=3,
    ),
    Effect(
        ("--serving", "continuous"),
        (*DECODER, "--generate", "8", "--batch", "4"),
        lambda b, a: a["time_to_first_token_s"] < b["time_to_first_token_s"],
    ),
    Effect(
        ("--implementation", "compiled"),
        ("bert-tiny", "a100-sxm-80gb"),
        lambda b, a: a["latency_s"] > b["latency_s"],
    ),
    Effect(
        ("--prefill-chunk", "16"),
        ("decoder", "a100-sxm-80gb", *DECODER[2:]),
        lambda b, a: a["latency_s"] > b["latency_s"] and a["memory_bytes"]["cache"] > 0,
    ),
    Effect(
        ("--sparsity", "acceltran"), ("bert-tiny", "acceltran-edge"), lambda b, a: "sparsity" in a
    ),
    Effect(("--trainable", "heads"), (*PAIR, *TRAINING), falls("memory_bytes", "gradients")),
    Effect(("--gradient-accumulation", "2"), (*PAIR, *TRAINING), times("macs", 2)),
    Effect(("--node", "7"), PAIR, lambda b, a: a["area_mm2"] < b["area_mm2"]),
    Effect(
        ("--ignore-key", "colour"),
        ("config.json", "systolic"),
        lambda b, a: any("colour" in note for note in a["notes"]),
        before=2,
    ),
    Effect(("--set", "workload.batch=4"), PAIR, times("macs", 4)),
    Effect(
        ("--technology", "mine.csv"),
        PAIR,
        lambda b, a: a["energy_by_part_j"]["main memory"] > b["energy_by_part_j"]["main memory"],
    ),
)


def prepare(folder: Path) -> None:
    """The files that the effects name."""
    (folder / "products.csv").write_text(PRODUCTS)
    (folder / "mine.csv").write_text(CONSTANTS)
    sizes = {"model_type": "bert", "num_hidden_layers": 1, "hidden_size": 64, "colour": "red"}
    sizes |= {"num_attention_heads": 2, "intermediate_size": 128, "vocab_size": 100}
    (folder / "config.json").write_text(json.dumps(sizes))


@functools.cache
def simulated(effect: Effect) -> tuple[Any, Any]:
    """The costs without the option (None where nothing is printed) and with it."""
    words = ("simulate", *effect.pair, "--format", "json")
    before = done(*words, code=effect.before).stdout
    return json.loads(before) if before else None, json.loads(done(*words, *effect.given).stdout)


def of_simulate(effect: Effect, folder: Path) -> None:
    assert effect.says(*simulated(effect))


def of_explain(effect: Effect, folder: Path) -> None:
    """The explained result is that of `simulate`, without the option and with it."""
    before, after = simulated(effect)
    words = ("explain", *effect.pair, "--result", effect.result)
    assert loaded(*words, *effect.given)["value"] == pytest.approx(after[effect.result], rel=1e-12)
    if effect.before:
        done(*words, code=effect.before)
    else:
        assert loaded(*words)["value"] == pytest.approx(before[effect.result], rel=1e-12)
        assert before[effect.result] != after[effect.result]


def of_compare(effect: Effect, folder: Path) -> None:
    before, after = simulated(effect)
    model, accelerator, *more = effect.pair
    words = ("compare", model, accelerator, accelerator, *more, "--metric", effect.result)
    for entry in loaded(*words, *effect.given):
        assert entry["values"] == {effect.result: after[effect.result]}
    if effect.before:
        done(*words, code=effect.before)
    else:
        assert loaded(*words)[0]["values"] == {effect.result: before[effect.result]}


@functools.cache
def traced(pair: tuple[str, ...]) -> tuple[str, str]:
    """The trace without an option, and what is said of it."""
    said = done("trace", *pair, "--out", "without.json").stdout
    return Path("without.json").read_text(), said


def of_trace(effect: Effect, folder: Path) -> None:
    """The closed form beside the trace is that of `simulate`; the traces differ."""
    words = ("trace", *effect.pair, "--out")
    with_it = done(*words, "with.json", *effect.given).stdout
    closed = registry().show("latency_s", simulated(effect)[1]["latency_s"])
    assert re.search(rf"^closed form +{re.escape(closed)} ", with_it, re.M)
    if effect.before:
        done(*words, "without.json", code=effect.before)
        assert not Path("without.json").exists()
        return
    told = Path("with.json").read_text(), with_it.replace("with.json", "without.json")
    assert told != traced(effect.pair)


def of_report(effect: Effect, folder: Path) -> None:
    """Results and settings of the page are those of `simulate`, and so is what repeats it."""
    before, after = simulated(effect)
    done("report", *effect.pair, *effect.given, "--out", "with.html")
    page = Path("with.html").read_text()
    for name in ("latency_s", "energy_j", "area_mm2"):
        assert f"<td>{pretty(registry().show(name, after[name]))}</td>" in page
    repeated = re.search(r"<pre>elector simulate (.*?) --operations\n", page)
    assert repeated is not None
    assert loaded("simulate", *shlex.split(html.unescape(repeated[1]))) == after
    if effect.before == 2:
        done("report", *effect.pair, "--out", "without.html", code=2)
        return
    done("report", *effect.pair, "--out", "without.html")
    assert ("infeasible: " in Path("without.html").read_text()) is not before["feasible"]
    assert Path("without.html").read_text() != page


FIVE = {
    "simulate": of_simulate,
    "explain": of_explain,
    "compare": of_compare,
    "trace": of_trace,
    "report": of_report,
}
for _command, _check in FIVE.items():
    for _effect in EFFECTS:
        CASES.add(_command, (_effect.given[0],), functools.partial(_check, _effect))
