"""What each constant carries of a preset, and how its figure was had."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from commands import loaded, run

import elector
from elector.base.errors import InputError
from elector.base.table import DATA, read_csv
from elector.studies.error_widths import spreads
from elector.studies.weights import read_as, weights
from elector.technology import Technology
from elector.technology.rows import VERIFIED

#: Presets whose energy may rest on assumed or once-quoted rows so far, at most.
BARS = {
    **dict.fromkeys(("tpu-v1", "tpu-v2", "tpu-v3", "tpu-v4i", "systolic", "gpu"), 0.2),
    **dict.fromkeys(("v100-sxm-16gb", "t4-16gb", "a100-sxm-80gb", "h100-sxm-80gb"), 0.2),
    **dict.fromkeys(("h200-sxm-141gb", "b200-sxm-192gb", "acceltran-edge"), 0.2),
    **dict.fromkeys(("h100-pcie-80gb", "l40s", "rtx-pro-6000", "mi300x", "p4-8gb"), 0.2),
    **dict.fromkeys(("isaac", "puma", "reram", "reram+systolic", "hpt"), 0.5),
}
PRESETS = ("tpu-v4i", "a100-sxm-80gb", "isaac", "acceltran-edge", "reram+systolic")


def rows_of(preset: str) -> dict[str, dict[str, Any]]:
    rows = weights(preset)["rows"]
    assert isinstance(rows, list)
    return {row["id"]: row for row in rows}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_share_is_what_moving_the_row_moves(preset: str, tmp_path: Path) -> None:
    """The row that carries most, 1 % dearer, and one in the middle: energy and area. A row that
    others are divided by would move a tenth less at 10 %."""
    rows = rows_of(preset)
    model = str(weights(preset)["model"])
    before = elector.simulate(model, preset)
    known = {row.id: row for row in Technology.load().rows}
    for id in (next(iter(rows)), list(rows)[len(rows) // 3]):
        row, node = known[id], known[id].node
        own = tmp_path / "own.csv"
        text, _, unit = row.text.partition(" ")
        own.write_text(
            "part,quantity,value,unit,node_nm,law,source,evidence\n"
            f"{row.part},{row.quantity},{float(text) * 1.01},{unit or 1},"
            f"{'' if node is None else node},{row.law},mine,measured\n"
        )
        after = elector.simulate(model, preset, technology=Technology.load(own))
        for share, result in (("energy", "energy_j"), ("area", "area_mm2")):
            old, new = before[result], after[result]
            assert isinstance(old, float) and isinstance(new, float)
            assert (new / old - 1) / 0.01 == pytest.approx(rows[id][share], abs=0.02)


@pytest.mark.parametrize("preset", PRESETS)
def test_rows_stand_by_what_they_carry(preset: str) -> None:
    record = weights(preset)
    shares = [abs(row["energy"]) for row in record["rows"]]  # type: ignore[attr-defined, union-attr]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.05
    evidence = record["evidence"]
    assert isinstance(evidence, dict) and sum(evidence.values()) == pytest.approx(1.0)
    simulated = elector.simulate(str(record["model"]), preset)["provenance"]
    assert evidence == simulated


def test_every_row_has_a_spread_around_its_value() -> None:
    for row in Technology.load().rows:
        assert spreads()[row.evidence] > 1
    for name, told in rows_of("tpu-v4i").items():
        exact = name in ("overhead:idle_clock", "scaling:area@45", "scaling:energy@45")  # defined
        assert 0 < told["low"] <= told["high"] and (told["low"] == told["high"]) is exact, name
    stated = rows_of("tpu-v4i")["mac:pe_energy_factor"]
    assert (stated["low"], stated["high"]) == pytest.approx((1.2, 1.7))
    free = rows_of("tpu-v4i")["vector.fp32:register_traffic"]
    assert (free["low"], free["high"]) == pytest.approx((12 / 1.3, 12 * 1.3))


def test_how_a_figure_was_had() -> None:
    known = {row.id: row for row in Technology.load().rows}
    assert read_as(known["vector.special:energy_factor"]) == "assumed"
    assert read_as(known["vector.special:area_factor"]) == "read"
    assert read_as(known["gpu.fp16:energy@12"]) == "agreed"
    assert read_as(known["dram.hbm2:energy"]) == "agreed"
    assert read_as(known["dram.hbm2:standby"]) == "quoted"
    assert read_as(known["sram:bitcell_area@7"]) == "read"
    price = Technology.load().price("dram.hbm2", "energy", 7)
    assert price.verified and price.group == "published"


def test_what_agrees_says_with_what() -> None:
    """`two` is a claim: its row names the works; an assumed row never is."""
    claims = 0
    for file in sorted((DATA / "technology").glob("*.csv")):
        names, lines = read_csv(file)
        for line, cells in lines:
            row = dict(zip(names, cells, strict=True))
            assert row["verified"] in VERIFIED, f"{file.name}:{line}"
            if row["verified"] == "two":
                assert row["looked_for"] and row["evidence"] != "assumed", f"{file.name}:{line}"
                claims += 1
    assert claims > 15


@pytest.mark.parametrize("preset", BARS)
def test_assumed_rows_that_matter_say_where_they_were_looked_for(preset: str) -> None:
    for id, row in rows_of(preset).items():
        weak = row["read"] in ("assumed", "quoted")
        if weak and max(abs(row["energy"]), abs(row["area"])) >= 0.01:
            assert row["looked_for"], id


@pytest.mark.parametrize(("preset", "bar"), BARS.items())
def test_energy_on_assumed_rows_keeps_its_bar(preset: str, bar: float) -> None:
    evidence = weights(preset)["evidence"]
    assert isinstance(evidence, dict) and evidence["assumed"] <= bar


def test_what_the_command_prints() -> None:
    shown = run("list", "technologies", "--weight", "tpu-v4i").stdout
    assert shown.startswith("what follows each row: bert-base on tpu-v4i")
    assert "sram:read_energy@7" in shown and "assumed rows of 1 % and more" in shown
    assert max(map(len, shown.splitlines())) <= 80
    tree = loaded("list", "technologies", "--weight", "tpu-v4i", "--format", "json")
    rows = list(
        csv.DictReader(
            io.StringIO(
                run("list", "technologies", "--weight", "tpu-v4i", "--format", "csv").stdout
            )
        )
    )
    assert [row["id"] for row in rows] == [row["id"] for row in tree["rows"]]
    assert json.loads(json.dumps(tree)) == tree


def test_presets_that_are_none() -> None:
    with pytest.raises(InputError, match="unknown accelerator"):
        weights("tpu-v9")
    result = run("list", "accelerators", "--weight", "tpu-v4i")
    assert result.exit_code == 2 and "goes with `list technologies`" in result.stderr


@pytest.mark.parametrize("preset", [*BARS, "p100-pcie-16gb", "rtx-6000-ada", "acceltran-server"])
def test_a_row_that_carries_one_percent_has_a_spread_of_its_own(preset: str) -> None:
    """77 of 120 such rows had that of their evidence; each says where its ends are from."""
    known = {row.id: row for row in Technology.load().rows}
    for id, row in rows_of(preset).items():
        if max(abs(row["energy"]), abs(row["area"])) >= 0.01:
            assert known[id].low is not None and known[id].high is not None, id
            assert known[id].looked_for or known[id].note or known[id].evidence == "derived", id
