"""Results that must not move unless somebody means them to: presets, modes, and fronts.

    python tests/golden.py          says what differs from tests/data/golden.csv
    python tests/golden.py --write  renews it; CHANGELOG says why

Numbers are kept at 10 digits: fewer than what two numpy releases agree on, more than any
change of an equation leaves alone.
"""

from __future__ import annotations

import csv
import math
import sys
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from elector.base.table import DATA, Column, read_csv
from elector.evaluation.accelerators import list_accelerators
from elector.evaluation.path import evaluate

TABLE = Path(__file__).resolve().parent / "data" / "golden.csv"
SPACES = Path(__file__).resolve().parents[1] / "spaces"
FIELDS = ("case", "result", "value")
MODELS = ("bert-tiny", "bert-large", "t5-base", "gpt2", "mistral-7b", "hpt-snow")
WORKLOADS: dict[str, dict[str, object]] = {
    "inference": {},
    "training": {"workload.mode": "training", "workload.batch": 4},
    "low-rank": {
        "workload.mode": "training",
        "workload.trainable": "lora:8",
        "workload.attention": "flash",
        "workload.batch": 4,
    },
}
GENERATION: dict[str, object] = {"workload.generate": 16, "workload.batch": 2}
RESULTS = (
    "latency_s",
    "energy_j",
    "area_mm2",
    "utilization",
    "macs",
    "parameters",
    "time_to_first_token_s",
    "time_per_output_token_s",
    "lifetime_years",
)
GROUPS = ("memory_bytes", "latency_by_kind_s")
BUDGET = 300
#: Devices that differ in their data sheets only: fewer models show a change.
DATA_SHEETS = frozenset(cells[0] for _, cells in read_csv(DATA / "accelerators" / "gpus.csv")[1])


def designs() -> Iterator[tuple[str, str, str, dict[str, object]]]:
    """(case, model, accelerator, settings) of every preset under every workload."""
    for accelerator in sorted(list_accelerators()):
        data_sheet = accelerator in DATA_SHEETS
        for model in ("bert-large", "gpt2") if data_sheet else MODELS:
            loads = dict(WORKLOADS)
            if model in ("gpt2", "mistral-7b"):
                loads["generation"] = GENERATION
            for name, settings in loads.items():
                yield f"{model} {accelerator} {name}", model, accelerator, settings


def rows(spaces: Collection[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """(case, result, value at 10 digits) of all designs, and of the fronts of some spaces."""
    listed = [
        (case, {"model": model, "accelerator": accelerator, **settings})
        for case, model, accelerator, settings in designs()
    ]
    keys = sorted({key for _, row in listed for key in row})
    columns = {key: Column.of([row.get(key) for _, row in listed]) for key in keys}
    cost = evaluate(columns, len(listed), level="groups")
    for i, (case, _) in enumerate(listed):
        if not cost.feasible[i]:
            yield case, "reason", str(cost.reason(i))
        for name in RESULTS:
            if name in cost.scalars and not math.isnan(cost.scalars[name][i]):
                yield case, name, shown(cost.scalars[name][i])
        for group in GROUPS:
            for name, values in cost.groups[group].items():
                if values[i] and not math.isnan(values[i]):
                    yield case, f"{group}.{name}", shown(values[i])
    yield from fronts(spaces)


def fronts(spaces: Collection[str] | None = None) -> Iterator[tuple[str, str, str]]:
    """The front of each shipped space, or of some of them, after a small budget."""
    from transcode import search

    for space in sorted(SPACES.glob("*.yaml")):
        if spaces is not None and space.stem not in spaces:
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "run"
            search(space, budget=BUDGET, seed=0, out=out, sampler="evolve")
            with (out / "front.csv").open(encoding="utf-8", newline="") as stream:
                points = list(csv.DictReader(stream))
        yield f"space {space.stem}", "points", str(len(points))
        for point in points[:5]:
            for name, text in point.items():
                if name != "id" and text and _is_number(text):
                    yield f"space {space.stem}", f"{point['id']} {name}", shown(float(text))


def shown(value: object) -> str:
    """A number at 10 digits."""
    return f"{float(str(value)):.10g}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def kept() -> dict[tuple[str, str], str]:
    """(case, result) -> value of the table as it stands."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return {(r["case"], r["result"]): r["value"] for r in csv.DictReader(stream)}


def differences(spaces: Collection[str] | None = None, limit: int = 20) -> list[str]:
    """What moved, one line each; of the fronts those of some spaces, or of all."""
    before, now = kept(), {(case, name): value for case, name, value in rows(spaces)}
    if spaces is not None:
        own = {f"space {name}" for name in spaces}
        before = {k: v for k, v in before.items() if k[0] in own or not k[0].startswith("space ")}
    moved = [
        f"{' '.join(key)}: {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    more = [f"... and {len(moved) - limit} more"] if len(moved) > limit else []
    return moved[:limit] + more


if __name__ == "__main__":
    if "--write" in sys.argv:
        with TABLE.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerows([FIELDS, *rows()])
    else:
        print("\n".join(differences()) or "nothing moved")
