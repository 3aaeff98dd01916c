"""Settings that are given to a unit or a link of a hybrid that has nothing to do."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from elector.evaluation.resolve import StructureGroup
from elector.machines.contract import Activity, Hybrid, Note

Array = np.ndarray

_SETTING = re.compile(r"accelerator\.(units|links)\.([^.]+)\.")
#: What is said of a setting, by what it belongs to.
_SAID = {
    "units": "{key} changes no time: {name} is given nothing to do (its area, idle power and "
    "peak count, and it has to be possible)",
    "links": "{key} changes nothing: nothing goes over the link {name}",
}


def of_units(group: StructureGroup, rows: Array, activity: Activity) -> dict[str, Note]:
    """Sentence -> the (D,) designs in which a setting is given and its unit or link does nothing.

    rows : (D,) places of the designs in their group. activity : what they do.
    """
    hybrid, table = group.machine.hybrid, group.table
    if hybrid is None or table is None:
        return {}
    idle = _idle(hybrid, activity)
    notes: dict[str, Note] = {}
    for key, column in sorted(table.columns.items()):  # the same order in every table
        match = _SETTING.match(key)
        if match is None or match[2] not in idle[match[1]]:
            continue
        given = np.array([value is not None for value in column.values])
        where = given[column.codes[group.rows[rows]]] & idle[match[1]][match[2]]
        if where.any():
            notes[_SAID[match[1]].format(key=key, name=match[2])] = Note(where)
    return notes


def _idle(hybrid: Hybrid, activity: Activity) -> Mapping[str, dict[str, Array]]:
    """units | links -> name -> (D,) bool, whether it has nothing to do."""
    assert activity.members is not None
    units = zip(hybrid.members, activity.members.working, strict=True)
    links = {link.name: activity.counts[f"link {link.name}"] for link in hybrid.links}
    return {
        "units": {member.name: ~np.asarray(works) for member, works in units},
        "links": {name: carried.total() == 0.0 for name, carried in links.items()},
    }
