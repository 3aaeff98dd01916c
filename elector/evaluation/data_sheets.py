"""How firm the figures of data sheets are that are prices themselves, such as an idle power.

Such a figure is a `Stated`: a number that carries its evidence from data/data_sheets.csv through
presets, files and hybrids based on them. One that the user gives is a plain number, and assumed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from elector.base.table import DATA, read_csv
from elector.evaluation.settings import SettingsTable
from elector.machines.contract import Evidence, Machine
from elector.technology import EVIDENCE, PROVENANCE, group

Array = np.ndarray

#: How firm a figure of the user's own is.
OWN = Evidence(PROVENANCE.index("assumed"), "assumed: given by the user")


class Stated(float):
    """A figure of a data sheet that knows how firm it is."""

    evidence: Evidence = OWN


@functools.cache
def data_sheets() -> dict[tuple[str, str], Evidence]:
    """(name, setting) -> evidence of its figure, from data/data_sheets.csv.

    name : of a device, or of a machine for the defaults of its schema. The setting * stands for
    all that have no line of their own.
    """
    path = DATA / "data_sheets.csv"
    names, lines = read_csv(path)
    figures = {}
    for line, cells in lines:
        row = dict(zip(names, cells, strict=True))
        assert row["evidence"] in EVIDENCE and row["verified"] in ("yes", "no"), (path, line)
        text = f"{row['evidence']}: {row['source']}"
        place = PROVENANCE.index(group(row["evidence"], row["verified"] == "yes"))
        figures[row["name"], row["setting"]] = Evidence(place, text)
    return figures


def stated(name: str, setting: str, value: object) -> Stated:
    """The figure `value` of the data sheet `name`, with its evidence.

    setting : where the figure stands in the description of the device.
    """
    known = data_sheets()
    figure = Stated(str(value))
    figure.evidence = known.get((name, setting)) or known.get((name, "*"), OWN)
    return figure


def evidence_of(
    table: SettingsTable,
    rows: Array,
    machine: Machine,
    given: Sequence[object],
    place: Array,
    key: str,
) -> tuple[tuple[Evidence, ...], Array]:
    """Distinct evidence and (D,) codes of a setting that is a price itself.

    rows : (D,) places of the designs in the table. given : the setting of each preset, None
    where it leaves it to the schema. place : (D,) preset of each design. A figure of a column
    is the user's own.

    key : name of the setting.
    """
    column, default = f"accelerator.{key}", _default(machine, key)
    known = [default if v is None else getattr(v, "evidence", OWN) for v in given]
    codes = place
    if column in table.columns:
        own = np.array([v is not None for v in table.columns[column].values])
        codes = np.where(own[table.columns[column].codes[rows]], len(known), place)
    return (*known, OWN), codes


def _default(machine: Machine, key: str) -> Evidence:
    """Of the schema's default; `key` names the unit where the machine is a hybrid."""
    unit, _, setting = key.rpartition(".")
    members = machine.hybrid.members if machine.hybrid else ()
    of = {f"units.{member.name}": member.machine for member in members}
    return data_sheets().get((of.get(unit, machine).name, setting), OWN)
