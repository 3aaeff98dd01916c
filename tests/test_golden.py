"""Nothing moves by accident: presets under every workload, and the fronts of shipped spaces."""

from __future__ import annotations

import golden
import pytest

#: Spaces whose fronts every run of the tests looks at; those of all take half a minute.
QUICK = ("bert", "smoke", "transcode")


@pytest.mark.parametrize(
    "spaces", [pytest.param(QUICK, id="some"), pytest.param(None, id="all", marks=pytest.mark.slow)]
)
def test_results_are_those_of_the_golden_table(spaces: tuple[str, ...] | None) -> None:
    """What is meant to move is renewed by `make golden` and explained in CHANGELOG."""
    moved = golden.differences(spaces)
    assert not moved, "\n".join(["renew with `make golden`, and say why in CHANGELOG:", *moved])


def test_the_table_covers_every_machine_and_space() -> None:
    cases = {case for case, _ in golden.kept()}
    for accelerator in golden.list_accelerators():
        assert any(f" {accelerator} " in case for case in cases), accelerator
    for space in golden.SPACES.glob("*.yaml"):
        assert f"space {space.stem}" in cases
