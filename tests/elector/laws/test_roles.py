"""roles.csv speaks of every setting of every machine, and the tables name what there is."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from elector.machines import MACHINES
from laws import bounds
from laws.statements import LAWS
from laws.subjects import ROLES, roles, schema_of, subjects


@pytest.mark.parametrize("kind", [*MACHINES, "link"])
def test_every_setting_has_a_role(kind: str) -> None:
    """A new setting says what more of it may do before it can be merged."""
    fields = schema_of(kind)
    assert set(roles().get(kind, {})) == set(fields)
    for key, role in roles()[kind].items():
        assert role.role in ROLES, key
        if role.role == "order":
            choices = fields[key].choices or ("false", "true")
            assert set(role.order) <= set(choices) and len(role.order) > 1, key


def test_bounds_speak_of_machines_and_laws_that_exist() -> None:
    for name, column in (("tolerances", "tolerance"), ("known", "worst")):
        for bound in bounds._rows(name, column):
            assert any(fnmatchcase(machine, bound.machine) for machine in subjects()), bound
            assert any(fnmatchcase(law, bound.law) for law in LAWS), bound
            assert len(bound.reason) > 20, f"{bound.machine} {bound.axis}: a physical reason"
