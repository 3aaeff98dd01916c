"""What each constant carries: `elector list technologies --weight PRESET`.

The share of a result that follows a row is its elasticity, d ln(result) / d ln(row): a row that
multiplies a third of the energy has a third, and of a product of two rows each has all of it. All
rows are moved one by one in one call of the one path.
"""

from __future__ import annotations

from elector.base.errors import InputError
from elector.base.table import Column
from elector.cost.pricing import Cost
from elector.evaluation.accelerators import load_accelerator
from elector.evaluation.path import evaluate
from elector.studies.error_widths import spread
from elector.studies.listing import Record, row_told
from elector.technology import PROVENANCE, ConstantRow, Technology

#: Models of a reference run, the first that a preset can run as it stands.
MODELS = ("bert-base", "bert-medium", "bert-mini", "bert-tiny")
#: What shares are said of.
RESULTS = {"energy": "energy_j", "area": "area_mm2", "latency": "latency_s"}
#: What a row is multiplied by to see what follows.
_MOVE = 1.001


def read_as(row: ConstantRow) -> str:
    """How a figure was had: read | agreed (in two works that quote it) | quoted | assumed."""
    if row.evidence == "assumed":
        return "assumed"
    if row.agreed:
        return "agreed"
    return "read" if row.verified else "quoted"


def reference(preset: str, technology: Technology) -> tuple[str, dict[str, Column]]:
    """Model and columns of the reference run of a preset: one default step of the first of MODELS
    that it can run. Raises InputError for an unknown preset and for one that can run none."""
    load_accelerator(preset)
    for model in MODELS:
        columns = {"model": Column.constant(model, 1), "accelerator": Column.constant(preset, 1)}
        if evaluate(columns, 1, technology=technology).feasible[0]:
            return model, columns
    raise InputError(
        f"runs none of {', '.join(MODELS)} as it stands", field="--weight", value=preset
    )


def weights(preset: str, technology: Technology | None = None) -> dict[str, object]:
    """What each row carries of a preset's reference run.

    Returns model, accelerator, `evidence` (the shares of the energy by its weakest rows, as of
    `elector simulate`) and `rows`, those that carry most of the energy first: the row with its
    shares of energy, area and latency, `read` (see `read_as`), and low and high [SI], which nine of
    ten such constants lie between. Rows that nothing follows are left out.
    """
    own = (technology or Technology.load()).single().fresh()
    model, columns = reference(preset, own)
    cost = evaluate(columns, 1, technology=own, level="groups")
    moved = _moved(columns, own)
    known = {row.id: row for row in own.rows}
    rows = []
    for place, id in enumerate(sorted(own.rows_read())):
        shares = {name: _share(moved, result, place) for name, result in RESULTS.items()}
        if any(shares.values()):
            rows.append(_told(known[id], shares))
    rows.sort(key=lambda row: [-abs(float(str(row[name]))) for name in RESULTS])
    provenance = {name: float(cost.scalar(f"provenance.{name}")[0]) for name in PROVENANCE}
    return {"model": model, "accelerator": preset, "evidence": provenance, "rows": rows}


def _moved(columns: dict[str, Column], own: Technology) -> Cost:
    """Costs with each row that was read moved alone, in their order, and then with none moved."""
    ids = sorted(own.rows_read())
    values: dict[str, list[float]] = {}
    for place, id in enumerate(ids):
        values[id] = [float(own.row(id).value)] * (len(ids) + 1)
        values[id][place] *= _MOVE
    return evaluate(columns, 1, technology=own.drawn(values))


def _share(cost: Cost, result: str, place: int) -> float:
    """Share of a result that follows the row at `place`."""
    values = cost.scalar(result)
    share = (float(values[place] / values[-1]) - 1.0) / (_MOVE - 1.0)
    return round(share, 6) + 0.0  # no -0.0


def _told(row: ConstantRow, shares: dict[str, float]) -> Record:
    below, above = spread(row)
    value = float(row.value)
    told = row_told(row)
    return {
        "id": told.pop("id"),
        **shares,
        "read": read_as(row),
        **told,
        "unit": row.unit,
        "low": value / below,
        "high": value * above,
    }
