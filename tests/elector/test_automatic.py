"""What `auto` stands for: stack and attention by chip, mode and kind of model."""

import itertools

import pytest

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, read_rows, schema
from elector.describe.formats import load_model
from elector.machines.gpu import stacks
from elector.machines.gpu.automatic import FACTS, automatic, chips_of, rules

CHIPS = schema("gpu")["architecture"].choices
FAMILIES = ("encoder", "decoder", "encoder-decoder", "vision", "gemm", "operations")


def chosen(model: str, accelerator: str, **settings: object) -> tuple[str, str]:
    """Stack and attention of a result."""
    given = {f"workload.{key}": value for key, value in settings.items()}
    told = elector.simulate(model, accelerator, settings=given)["settings"]
    return tuple(told[f"workload.{key}"]["value"] for key in ("implementation", "attention"))


@pytest.mark.parametrize(
    ("model", "accelerator", "mode", "expected"),
    [
        ("bert-base", "a100-sxm-80gb", "inference", ("tensorrt", "flash")),
        ("bert-base", "a100-sxm-80gb", "training", ("eager", "flash")),
        ("vit-base", "l4-24gb", "inference", ("tensorrt", "flash")),
        ("llama-2-7b", "h100-sxm-80gb", "inference", ("vllm", "flash")),
        ("llama-2-7b", "b200-sxm-192gb", "training", ("eager", "flash")),
        ("t5-base", "a100-sxm-80gb", "inference", ("tensorrt-llm", "flash")),
        ("gpt2", "v100-sxm-32gb", "inference", ("eager", "flash")),
        ("gpt2", "mi300x", "inference", ("vllm", "flash")),
        ("bert-base", "mi300x", "inference", ("eager", "flash")),
        ("gemm:1024x1024x1024", "a100-sxm-80gb", "inference", ("eager", "unfused")),
        ("bert-base", "tpu-v4i", "inference", ("eager", "unfused")),
        ("bert-base", "hpt", "training", ("eager", "flash")),
        ("bert-base", "hpt", "inference", ("tensorrt", "flash")),
        ("bert-base", "reram+systolic", "inference", ("eager", "unfused")),
    ],
)
def test_what_auto_is(model, accelerator, mode, expected):
    assert chosen(model, accelerator, mode=mode) == expected


def test_attention_follows_the_stack_that_is_asked_for():
    stack = {"implementation": "torchscript"}
    assert chosen("bert-base", "a100-sxm-80gb", **stack) == ("torchscript", "unfused")
    transformer = {"implementation": "fastertransformer", "precision": "fp16"}
    assert chosen("bert-base", "t4-16gb", **transformer) == ("fastertransformer", "flash")
    assert chosen("bert-base", "v100-sxm-16gb", **transformer) == ("fastertransformer", "unfused")
    wide = {**transformer, "precision": "fp32"}
    assert chosen("bert-base", "t4-16gb", **wide) == ("fastertransformer", "unfused")
    both = {"implementation": "vllm", "attention": "unfused"}
    assert chosen("gpt2", "a100-sxm-80gb", **both) == ("vllm", "unfused")


@pytest.mark.parametrize("mode", ["inference", "training"])
def test_auto_is_the_same_as_what_it_says(mode):
    """Asking for what `auto` came to gives every number again."""
    for model, chip in itertools.product(("bert-tiny", "gpt2"), ("t4-16gb", "v100-sxm-16gb")):
        asked = {"workload.mode": mode}
        auto = elector.simulate(model, chip, settings=asked)
        stack, attention = chosen(model, chip, mode=mode)
        named = asked | {"workload.implementation": stack, "workload.attention": attention}
        named = elector.simulate(model, chip, settings=named)
        for key in ("latency_s", "energy_j", "memory_bytes", "macs"):
            assert auto[key] == named[key]


def test_chips_in_one_table_choose_alone():
    """A table of chips of many families gives each what it gets by itself, in any order."""
    chips = ["v100-sxm-32gb", "a100-sxm-80gb", "mi300x", "p4-8gb", "h100-sxm-80gb"]
    settings = {"workload.precision": "fp16"}
    for order in (chips, chips[::-1]):
        rows = [{"model": "gpt2", "accelerator": c, **settings} for c in order if c != "p4-8gb"]
        table = elector.sweep(rows)
        for row, latency in zip(rows, table["latency_s"], strict=True):
            alone = elector.simulate("gpt2", row["accelerator"], settings=settings)
            assert latency == alone["latency_s"]


def test_a_row_chooses_alone_whatever_stands_beside_it(tmp_path):
    """A family that is not given is that of the preset, or of the schema; blanks are none."""
    own = tmp_path / "own.yaml"
    own.write_text("base: gpu\ndatapath: bf16\nsms: 60\n")
    family = "accelerator.architecture"
    tables = [
        [
            {"model": "bert-base", "accelerator": "a100-sxm-40gb", family: f},
            {"model": "bert-base", "accelerator": "a100-sxm-40gb"},
        ]
        for f in ("cdna", " volta ", "any", None)
    ]
    tables += [
        [{"model": m, "accelerator": a} for a in ("mi300x", str(own))]
        for m in ("bert-base", "t5-base", "gpt2")
    ]
    unit = "accelerator.units.gpu.architecture"
    tables.append([{"model": "bert-tiny", "accelerator": "hpt", unit: f} for f in ("cdna", None)])
    for rows in tables:
        alone = [elector.sweep([row])["latency_s"].iloc[0] for row in rows]
        assert list(elector.sweep(rows)["latency_s"]) == alone
        assert list(elector.sweep(rows[::-1])["latency_s"]) == alone[::-1]


def test_an_idle_gpu_chooses_nothing_for_the_units_that_work(tmp_path):
    path = tmp_path / "idle.yaml"
    path.write_text(
        "units: {array: {base: tpu-v4i}, gpu: {base: a100-sxm-40gb}}\n"
        "links: [{between: [array, gpu], kind: board, bandwidth: 32 GB/s, latency: 1 us}]\n"
        "assignment: [{unit: array}]\n"
    )
    assert chosen("gpt2", str(path)) == ("eager", "unfused")
    settings = {"workload.batch": 8}
    both = [elector.simulate("gpt2", a, settings=settings) for a in (str(path), "tpu-v4i")]
    assert both[0]["latency_s"] == both[1]["latency_s"]


def test_a_chip_of_ones_own_chooses_by_its_family():
    for family, stack in (("pascal", "eager"), ("turing", "vllm"), ("any", "vllm")):
        own = {"accelerator.architecture": family}
        told = elector.simulate("gpt2", "a100-sxm-80gb", settings=own)["settings"]
        assert told["workload.implementation"]["value"] == stack


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("family", FAMILIES)
def test_there_is_a_rule_for_everything(mode, family):
    for chip, compute in itertools.product(CHIPS, ("fp32", "tf32", "fp16", "bf16", "fp8", "int8")):
        facts = dict(mode=mode, family=family, architecture=chip, compute=compute, stack="auto")
        stack = automatic("implementation", facts)
        assert stack in stacks.IMPLEMENTATIONS
        assert mode == "inference" or stack not in stacks.SERVING_ONLY
        assert automatic("attention", facts | {"stack": stack}) in ("unfused", "fused", "flash")


def test_a_chosen_stack_was_measured_on_whole_steps():
    """`auto` takes stacks that have steps or generations among the measured rows."""
    rows = read_rows(DATA / "published.csv")
    for stack in {r["value"] for r in rules() if r["setting"] == "implementation"}:
        own = [r for r in rows if f"workload.implementation={stack}" in r["settings"].split()]
        assert [r for r in own if not r["model"].startswith("gemm:")], stack


def test_rules_name_what_there_is():
    known = {
        "mode": ("inference", "training"),
        "family": FAMILIES,
        "architecture": CHIPS,
        "compute": ("fp16", "int8"),
        "stack": stacks.IMPLEMENTATIONS,
    }
    assert load_model("gpt2").family == "decoder"
    for rule in rules():
        assert rule["source"]
        for fact in FACTS:
            assert not rule[fact] or set(rule[fact].split("|")) <= set(known[fact])


def test_what_auto_takes_has_releases_for_the_chip():
    for mode, family, chip in itertools.product(("inference", "training"), FAMILIES, CHIPS):
        facts = dict(mode=mode, family=family, architecture=chip, compute="fp16", stack="auto")
        chips = chips_of(automatic("implementation", facts))
        assert chips is None or chip in chips


def test_a_stack_without_a_release_for_the_chip_is_said():
    """In a table those rows alone say so."""
    cells = [("mi300x", "tensorrt"), ("a100-sxm-40gb", "tensorrt"), ("v100-sxm-32gb", "vllm")]
    rows = [
        {"model": "bert-tiny", "accelerator": a, "workload.implementation": s} for a, s in cells
    ]
    notes = elector.sweep(rows)["notes"]
    assert ["no release" in str(note) for note in notes] == [True, False, True]


@pytest.mark.parametrize("stack", stacks.SERVING_ONLY)
def test_engines_that_serve_train_nothing(stack):
    settings = {"workload.mode": "training", "workload.implementation": stack}
    with pytest.raises(InputError, match="trains none") as error:
        elector.simulate("bert-tiny", "a100-sxm-80gb", settings=settings)
    assert "eager" in str(error.value) and "vllm" not in str(error.value).split("allowed")[1]


def test_more_tokens_are_not_faster_where_the_stack_is_chosen():
    for model, chip in (("bert-tiny", "t4-16gb"), ("gpt2", "h200-sxm-141gb")):
        lengths = [16, 32, 64, 128, 256, 512]
        rows = [
            {"model": model, "accelerator": chip, "workload.sequence_length": n} for n in lengths
        ]
        assert elector.sweep(rows)["latency_s"].is_monotonic_increasing
