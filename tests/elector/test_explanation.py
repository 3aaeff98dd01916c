"""Every figure is explained down to table rows, and the explanation ends in the figure."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from commands import run

import elector
from elector.base.errors import InfeasibleError, InputError
from elector.cli.commands import main
from elector.cost.results import registry
from elector.studies.composed import COMPOSED, INSTEAD
from elector.studies.explanation import RESULTS, WHEN
from elector.technology import Technology, group

DESIGNS: list[tuple[str, str, dict[str, object]]] = [
    ("bert-tiny", "systolic", {}),
    ("bert-tiny", "systolic", {"workload.mode": "training", "accelerator.node": 28}),
    ("gpt2", "tpu-v3", {"workload.generate": 4, "workload.batch": 2}),
    ("bert-base", "tpu-v1", {"accelerator.sram": "1 MB"}),
    ("t5-base", "tpu-v4i", {"workload.attention": "flash"}),
    ("bert-tiny", "gpu", {"workload.mode": "training"}),
    ("bert-tiny", "isaac", {}),
    ("bert-tiny", "acceltran-edge", {}),
    ("bert-tiny", "hpt", {"workload.mode": "training", "workload.trainable": "lora:4"}),
    ("bert-tiny", "reram+systolic", {"accelerator.links.tier-array.energy_per_bit": "2 pJ"}),
    ("bert-tiny", "hpt", {"workload.mode": "training"}),
]
SUMS = ("energy_j", "area_mm2", "macs", "parameters", "active_parameters", "placing_j")
#: Designs that have results which those of DESIGNS lack: tokens of a server, of one token, in
#: formats with a score, of experts; hybrids with cells.
MADE_OF_OTHERS: list[tuple[str, str, dict[str, object]]] = [
    *DESIGNS,
    (
        "gpt2",
        "h100-sxm-80gb",
        {"workload.generate": 5, "workload.batch": 6, "workload.serving": "continuous"},
    ),
    (
        "gpt2",
        "systolic",
        {"workload.generate": 2, "workload.batch": 3, "workload.serving": "continuous"},
    ),
    ("llama-2-7b", "h100-sxm-80gb", {"workload.generate": 1, "workload.weights": "int4"}),
    (
        "decoder",
        "isaac",
        {"model.layers": 1, "model.vocabulary": 512, "workload.generate": 4, "workload.batch": 2},
    ),
]


#: Batch, and rows, columns and number of arrays, of designs that run it in a few streams.
SPLIT = [(32, 32, 16, 4), (8, 32, 64, 2), (4, 64, 64, 2), (16, 32, 32, 4), (6, 64, 16, 1)]


@cache
def simulated_on(model: str, accelerator: str) -> dict[str, Any]:
    """What `simulate` says of a model on a machine as it is."""
    return dict(elector.simulate(model, accelerator))


def terms_of(shown: dict[str, Any]) -> list[dict[str, Any]]:
    terms: list[dict[str, Any]] = shown["terms"]
    return terms


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
@pytest.mark.parametrize("result", RESULTS)
def test_an_explanation_ends_in_the_result(
    model: str, accelerator: str, settings: dict[str, object], result: str
) -> None:
    shown = elector.explain(model, accelerator, result, settings=settings)
    simulated = elector.simulate(model, accelerator, settings=settings)
    assert shown["value"] == pytest.approx(simulated[result], rel=1e-12)
    assert shown["result"] == result and shown["unit"] and shown["formula"]
    if result in SUMS:
        assert sum(t["value"] for t in terms_of(shown)) == pytest.approx(shown["value"], rel=1e-12)


@pytest.mark.parametrize(("model", "accelerator", "settings"), MADE_OF_OTHERS)
def test_every_number_is_explained_and_what_is_made_of_others_multiplies_out(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    """Whatever `simulate` gives: from the parts that are shown alone comes the result."""
    simulated: dict[str, Any] = elector.simulate(model, accelerator, settings=settings)
    if not simulated["feasible"]:
        pytest.skip(str(simulated["reason"]))
    of_units = [name for name, metric in registry().shown(simulated) if name != metric.name]
    for name in [*(metric.name for metric in registry().scalars), *of_units]:
        value, metric = simulated.get(name), registry().get(name)
        if value is None:
            with pytest.raises(InputError, match="no result of this design") as error:
                elector.explain(model, accelerator, name, settings=settings)
            own = [other for other in of_units if other.endswith(f".{name}")]
            told = WHEN.get(name) or WHEN.get(metric.exists)
            assert (own[0] if own else str(told)) in str(error.value)
            continue
        shown: dict[str, Any] = elector.explain(model, accelerator, name, settings=settings)
        assert shown["value"] == pytest.approx(float(value), rel=1e-12), name
        assert shown["unit"] == metric.unit and shown["formula"]
        if metric.name in SUMS:
            assert sum(t["value"] for t in terms_of(shown)) == pytest.approx(value, rel=1e-12)
        if "parts" in shown and metric.name != "host_bound":
            total = 0.0
            for part in shown["parts"]:
                factors = [(f["value"], f["over"]) for f in part["factors"]]
                total += math.prod(1 / x if over else x for x, over in factors)
            assert total == pytest.approx(value, rel=1e-12, abs=1e-15), metric.name
        known = {*RESULTS, *COMPOSED}
        assert ("instead" in shown) == (metric.name not in known)
        for other in shown.get("instead", ()):
            assert other in known and simulated[other] is not None


def test_every_result_of_the_registry_is_explained_or_says_which_one_to_explain() -> None:
    known = {*RESULTS, *COMPOSED, *INSTEAD}
    assert known == {metric.name for metric in registry().scalars}


def test_tokens_are_explained_by_the_operations_of_their_phase() -> None:
    settings: dict[str, object] = {"workload.generate": 8, "workload.batch": 2}
    design = ("gpt2", "tpu-v4i")
    first: dict[str, Any] = elector.explain(*design, "time_to_first_token_s", settings=settings)
    later: dict[str, Any] = elector.explain(*design, "time_per_output_token_s", settings=settings)
    whole: dict[str, Any] = elector.explain(*design, "latency_s", settings=settings)
    assert {t["phase"] for t in terms_of(first)} == {"prefill"}
    assert {t["phase"] for t in terms_of(later)} == {"decode"}
    assert terms_of(whole) == [*terms_of(first), *terms_of(later)]
    assert first["stages_s"] | later["stages_s"] == whole["stages_s"]
    assert later["value"] == pytest.approx(whole["stages_s"]["decode"] / 7)
    token: dict[str, Any] = elector.explain(*design, "energy_per_token_j", settings=settings)
    energy: dict[str, Any] = elector.explain(*design, "energy_j", settings=settings)
    assert token["terms_of"] == "energy_j" and token["terms"] == energy["terms"]
    assert token["value"] == pytest.approx(energy["value"] / 16)


def test_a_breakdown_says_what_it_is_the_breakdown_of() -> None:
    with pytest.raises(InputError, match="explain energy_j"):
        elector.explain("bert-tiny", "systolic", "energy_by_part_j")
    with pytest.raises(InputError, match="called effective_bits here"):
        elector.explain("bert-tiny", "isaac", "tier.effective_bits")
    with pytest.raises(InputError, match="lists it by class"):
        elector.explain("bert-tiny", "systolic", "memory_bytes")


def test_ratios_are_printed_with_their_factors() -> None:
    words = ["explain", "gpt2", "tpu-v4i", "--generate", "16", "--batch", "4"]
    done = CliRunner().invoke(main, [*words, "--result", "tokens_per_s"])
    assert done.exit_code == 0, done.output
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["4", "sequences", "of", "the", "step"] in lines
    assert ["x", "16", "generated", "tokens", "of", "each"] in lines
    assert any(line[:1] == ["/"] and line[-1:] == ["latency_s"] for line in lines)
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
def test_joules_are_followed_to_operation_and_part(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    """Each operation's joules by part; with leakage they are the parts of the result."""
    shown: dict[str, Any] = elector.explain(model, accelerator, "energy_j", settings=settings)
    simulated: dict[str, Any] = elector.simulate(
        model, accelerator, settings=settings, operations=True
    )
    by_part: dict[str, float] = {"leakage": simulated["energy_by_part_j"]["leakage"]}
    for operation, priced in zip(shown["operations"], simulated["operations"], strict=True):
        assert operation["name"] == priced["name"]
        assert operation["joules"] == pytest.approx(priced["joules"], rel=1e-12)
        assert sum(operation["by_part_j"].values()) == pytest.approx(priced["joules"], rel=1e-12)
        for part, joules in operation["by_part_j"].items():
            by_part[part] = by_part.get(part, 0.0) + joules
    for part, joules in simulated["energy_by_part_j"].items():
        assert by_part.get(part, 0.0) == pytest.approx(joules, rel=1e-12), part


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
def test_cycles_are_followed_to_a_module(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    shown: dict[str, Any] = elector.explain(model, accelerator, "latency_s", settings=settings)
    assert sum(shown["stages_s"].values()) == pytest.approx(shown["value"], rel=1e-12)
    # what a stage waits for is all there is to recompute it from
    assert shown["accounts"].keys() == shown["stages_s"].keys()
    for name, account in shown["accounts"].items():
        totals = [bound["works_s"] + bound["idles_s"] for bound in account["bounds"].values()]
        assert account["start_s"] + max(totals) == pytest.approx(shown["stages_s"][name], rel=1e-12)
        assert account["decides"] == next(iter(account["bounds"]))
        assert account["streams"] >= 1
    for term in shown["terms"]:
        assert term["layer"]
        # what keeps nothing of a hybrid busy is bound by its unit
        assert term["bound"] in shown["loads_s"] or term["bound"] == term["unit"]
    for name, seconds in shown["loads_s"].items():
        assert seconds <= shown["value"] * (1 + 1e-12), name
        busy = sum(term["busy_s"][name] for term in shown["terms"])
        assert busy == pytest.approx(seconds, rel=1e-9), name


@pytest.mark.parametrize(("batch", "rows", "cols", "arrays"), SPLIT)
def test_seconds_of_any_number_of_streams_are_followed(
    batch: int, rows: int, cols: int, arrays: int
) -> None:
    """Batches that run in more streams than one and in fewer than they have sequences."""
    sizes = {"rows": rows, "cols": cols, "arrays": arrays}
    settings: dict[str, object] = {f"accelerator.{key}": size for key, size in sizes.items()}
    settings |= {"workload.batch": batch, "workload.sequence_length": 16}
    shown: dict[str, Any] = elector.explain("bert-tiny", "systolic", "latency_s", settings=settings)
    account = shown["accounts"]["step"]
    assert 1 < account["streams"] < batch
    totals = [bound["works_s"] + bound["idles_s"] for bound in account["bounds"].values()]
    assert account["start_s"] + max(totals) == pytest.approx(shown["stages_s"]["step"], rel=1e-12)


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS[:5])
def test_counts_times_prices_are_the_terms(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    """From what is shown alone: count, price, law, and the size of the memory it reads."""
    shown = elector.explain(model, accelerator, "energy_j", settings=settings)
    simulated = elector.simulate(model, accelerator, settings=settings)
    by_part: dict[str, float] = {}
    for term in terms_of(shown):
        by_part[term["part"]] = by_part.get(term["part"], 0.0) + term["value"]
        if "count" in term and term["law"] == "constant":
            assert term["value"] == pytest.approx(term["count"] * term["price"], rel=1e-12)
        if "watts" in term:
            assert term["value"] == pytest.approx(term["watts"] * simulated["latency_s"])  # type: ignore[operator]
    assert by_part == pytest.approx(simulated["energy_by_part_j"], rel=1e-12)


def test_explained_rows_are_rows_of_the_table() -> None:
    prices = Technology.load()
    known = {row.id: row for row in prices.rows}
    for result in ("energy_j", "area_mm2"):
        shown = elector.explain("bert-base", "tpu-v4i", result)
        rows: Any = shown["rows"]
        cited = {row["id"] for row in rows}
        assert cited and cited == {i for t in terms_of(shown) for i in t["rows"]}
        for row in rows:
            ours = known[row["id"]]
            assert (row["part"], row["quantity"], row["evidence"]) == (
                ours.part,
                ours.quantity,
                ours.evidence,
            )
            assert row["source"]
        assert shown["assumed"] == sum(known[i].evidence == "assumed" for i in cited)


def test_latency_of_a_gpu_cites_the_figures_of_its_data_sheet() -> None:
    explained = elector.explain("bert-tiny", "b300-sxm-288gb", "latency_s")
    figures = {figure["name"]: figure for figure in explained["figures"]}
    special = figures["accelerator.special_per_cycle"]
    assert special["value"] == 32 and special["evidence"].startswith("published: NVIDIA")
    assert figures["accelerator.bandwidth"]["unit"] == "byte/s"
    own = {"accelerator.special_per_cycle": 8}
    explained = elector.explain("bert-tiny", "b300-sxm-288gb", "latency_s", settings=own)
    told = {figure["name"]: figure["evidence"] for figure in explained["figures"]}
    assert told["accelerator.special_per_cycle"] == "assumed: given by the user"


def test_latency_terms_name_what_bounds_them() -> None:
    shown = elector.explain("bert-base", "systolic", "latency_s")
    for term in terms_of(shown):
        assert term["busy_s"][term["bound"]] == max(term["busy_s"].values())
    loads: Any = shown["loads_s"]
    assert shown["value"] >= max(loads.values())  # type: ignore[operator]
    stages: Any = shown["stages_s"]
    assert sum(stages.values()) == pytest.approx(shown["value"])


def test_products_are_listed_with_their_sizes() -> None:
    shown = elector.explain("bert-base", "systolic", "macs")
    query = next(t for t in terms_of(shown) if t["name"] == "query")
    assert [query[x] for x in ("count", "batch", "m", "k", "n")] == [12, 1, 128, 768, 768]
    parameters = elector.explain("bert-base", "systolic", "parameters")
    token = next(t for t in terms_of(parameters) if t["name"] == "token embedding")
    assert token["value"] == 30522 * 768


@pytest.mark.parametrize("result", ["energy_j", "power_w", "area_mm2", "latency_s"])
def test_a_hybrid_is_explained_by_unit_and_link(result: str) -> None:
    """Each unit's part is what its terms add up to, and what the results by part say."""
    settings: dict[str, object] = {"workload.mode": "training", "workload.trainable": "lora:4"}
    shown = elector.explain("bert-tiny", "hpt", result, settings=settings)
    simulated = elector.simulate("bert-tiny", "hpt", settings=settings)
    units: Any = shown["units"]
    for unit, value in units.items():
        mine = sum(t["value"] for t in terms_of(shown) if t["unit"] == unit)
        assert value == pytest.approx(mine, rel=1e-12)
    assert set(units) >= {"tier", "array", "link tier-array"} or result == "area_mm2"
    if result in ("energy_j", "area_mm2"):
        assert sum(units.values()) == pytest.approx(simulated[result], rel=1e-12)
    if result == "area_mm2":
        areas: Any = simulated["area_by_part_mm2"]
        for unit in ("gpu", "tier", "array"):
            parts = sum(v for name, v in areas.items() if name.startswith(f"{unit}."))
            assert units[unit] == pytest.approx(parts, rel=1e-12)
    if result == "energy_j":
        energy: Any = simulated["energy_by_part_j"]
        assert units["link tier-array"] == pytest.approx(energy["links"], rel=1e-12)


def test_an_energy_of_the_users_own_counts_as_assumed() -> None:
    shown = elector.explain(
        "bert-tiny",
        "reram+systolic",
        "energy_j",
        settings={"accelerator.links.tier-array.energy_per_bit": "2 pJ"},
    )
    link = next(t for t in terms_of(shown) if t["name"] == "link tier-array")
    assert link["price"] == pytest.approx(2e-12) and link["evidence"] == "assumed"
    assert link["value"] == pytest.approx(8 * link["count"] * link["price"])


def test_what_cannot_be_explained() -> None:
    with pytest.raises(InputError, match="energy_j"):
        elector.explain("bert-base", "systolic", "energy")
    small: dict[str, object] = {"accelerator.memory_capacity": "1 MB"}
    with pytest.raises(InfeasibleError, match="infeasible: main memory"):
        elector.explain("bert-base", "systolic", "latency_s", settings=small)


@pytest.mark.parametrize("accelerator", ["acceltran-server", "isaac", "hpt", "tpu-v2"])
@pytest.mark.parametrize("result", [m.name for m in registry().scalars])
def test_results_of_a_design_that_cannot_run_are_explained(accelerator: str, result: str) -> None:
    """What simulate still says of it, and nothing else."""
    simulated = simulated_on("deepseek-v3", accelerator)
    assert not simulated["feasible"]
    if simulated.get(result) is None:
        with pytest.raises((InfeasibleError, InputError)) as caught:
            elector.explain("deepseek-v3", accelerator, result)
        exists = registry().get(result).exists
        assert isinstance(caught.value, InputError) == (exists == "always"), result
        return
    assert elector.explain("deepseek-v3", accelerator, result)["value"] == pytest.approx(
        simulated[result], rel=1e-12
    )


def test_an_infeasible_design_on_the_command_line() -> None:
    asked = "explain", "llama-2-7b", "acceltran-server", "--result"
    assert run(*asked, "area_mm2").exit_code == run(*asked, "macs").exit_code == 0
    assert run(*asked, "energy_j").exit_code == run(*asked, "ops_executed").exit_code == 3


@pytest.mark.parametrize(("model", "accelerator", "settings"), DESIGNS)
def test_provenance_is_the_share_of_each_kind_of_evidence(
    model: str, accelerator: str, settings: dict[str, object]
) -> None:
    simulated = elector.simulate(model, accelerator, settings=settings)
    shares = simulated["provenance"]
    assert isinstance(shares, dict)
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-12)
    assert all(0 <= share <= 1 for share in shares.values())
    # A term counts under the heading of the weakest row it rests on, and under no other.
    shown = elector.explain(model, accelerator, "energy_j", settings=settings)
    by_kind = dict.fromkeys(shares, 0.0)
    for term in terms_of(shown):
        by_kind[group(term["evidence"], term["verified"])] += term["value"]
    total = float(shown["value"])  # type: ignore[arg-type]
    for name, joules in by_kind.items():
        assert shares[name] * total == pytest.approx(joules, rel=1e-9, abs=1e-9 * total), name


@pytest.mark.parametrize(
    ("accelerator", "settings", "evidence"),
    [
        ("mi300x", {}, "published"),  # read in transcripts
        ("t4-16gb", {}, "published"),
        ("gb300-288gb", {}, "derived"),  # bare, and a context as on a B200
        ("a100-sxm-80gb", {}, "derived"),
        ("a100-sxm-80gb", {"accelerator.idle_power": "70 W"}, "assumed"),  # the user's own
        ("gpu", {}, "derived"),
        ("gpu", {"accelerator.idle_power": 50}, "assumed"),
    ],
)
def test_an_idle_power_is_as_firm_as_its_data_sheet(
    accelerator: str, settings: dict[str, object], evidence: str
) -> None:
    simulated = elector.simulate("bert-tiny", accelerator, settings=settings)
    shown = elector.explain("bert-tiny", accelerator, "energy_j", settings=settings)
    board = next(t for t in terms_of(shown) if t["name"] == "board standing")
    assert f"accelerator.idle_power ({evidence}:" in board["derivation"]
    share = board["value"] / float(shown["value"])  # type: ignore[arg-type]
    shares: Any = simulated["provenance"]
    heading = "assumed" if evidence == "assumed" else "published"
    assert shares[heading] >= share * (1 - 1e-9)
    assert shares["assumed"] >= share * (1 - 1e-9) or evidence != "assumed"


def test_evidence_of_a_data_sheet_follows_files_and_hybrids(tmp_path: Path) -> None:
    """What is based on a device keeps its evidence; what a file sets itself is assumed."""
    files = {
        "based": "base: t4-16gb\npower_limit: 60 W\n",
        "own": "base: t4-16gb\nidle_power: 27 W\n",
        "hybrid": "units:\n  one: {base: t4-16gb}\nassignment: [{unit: one}]\n",
        "other": "units:\n  one: {base: t4-16gb, idle_power: 27 W}\nassignment: [{unit: one}]\n",
    }
    published = {}
    for name, text in files.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        asked = {"workload.implementation": "eager"}  # idle most of the time
        shares: Any = elector.simulate("bert-tiny", str(path), settings=asked)["provenance"]
        published[name] = shares["published"]
    assert published["based"] > 0.5 and published["hybrid"] > 0.5
    # what is left is its memory, and what runs while kernels do
    assert published["own"] < 0.1 and published["other"] < 0.1


def test_latency_terms_of_a_hybrid_are_bound_by_what_works_or_by_their_unit() -> None:
    settings = {
        "workload.mode": "training",
        "workload.trainable": "lora:8",
        "workload.batch": 8,
    }
    shown = elector.explain("bert-mini", "hpt", "latency_s", settings=settings)
    result = elector.simulate("bert-mini", "hpt", settings=settings, operations=True)
    terms = terms_of(shown)
    assert [term["bound"] for term in terms] == [op["bound"] for op in result["operations"]]
    idle = [term for term in terms if not any(term["busy_s"].values())]
    assert idle  # stages of a pipeline that wait for its slowest one
    for term in terms:
        if term in idle:
            assert term["bound"] == term["unit"]
        else:
            assert term["busy_s"][term["bound"]] == max(term["busy_s"].values())


def test_seconds_of_a_hybrid_follow_no_price_of_a_unit() -> None:
    explained = elector.explain("bert-tiny", "hpt", "latency_s")
    told = {
        figure["name"].removeprefix("accelerator.units.gpu.") for figure in explained["figures"]
    }
    assert "bandwidth" in told
    assert not told & {"idle_power", "die"}


@pytest.mark.parametrize(
    "accelerator", ["tpu-v4i", "a100-sxm-80gb", "isaac", "acceltran-edge", "hpt"]
)
def test_terms_add_up_to_the_shares_of_evidence(accelerator: str) -> None:
    """What `simulate` says a result rests on is what the terms of `explain` count as."""
    shares: Any = elector.simulate("bert-tiny", accelerator)["provenance"]
    explained: Any = elector.explain("bert-tiny", accelerator, "energy_j")
    sums = dict.fromkeys(shares, 0.0)
    for term in explained["terms"]:
        sums[term["counts_as"]] += term["value"]
    assert {k: v / explained["value"] for k, v in sums.items()} == pytest.approx(shares, abs=1e-9)
