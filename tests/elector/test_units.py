"""Text with a unit -> SI and back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import elector
from elector.base.errors import InputError
from elector.base.units import format_si, parse


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("4 MB", "byte", 4e6),
        ("4MB", "byte", 4e6),
        ("4 MiB", "byte", 2.0**22),
        ("16 KB", "byte", 16e3),
        ("1 kbit", "byte", 125.0),
        ("25.6 GB/s", "byte/s", 25.6e9),
        ("100 Gbit/s", "byte/s", 12.5e9),
        ("700 MHz", "Hz", 7e8),
        ("0.1 ms", "s", 1e-4),
        ("2 min", "s", 120.0),
        ("0.44 pJ", "J", 0.44e-12),
        ("3.9 pJ/bit", "J/byte", 3.12e-11),
        ("45 W", "W", 45.0),
        ("858 mm2", "m2", 858e-6),
        ("0.5 um2", "m2", 0.5e-12),
        ("15.625 %", "1", 0.15625),
        ("1e3", "Hz", 1000.0),
        ("-2", "V", -2.0),
        (".5 V", "V", 0.5),
    ],
)
def test_text_is_read_in_si(text: str, unit: str, value: float) -> None:
    assert parse(text, unit) == value


@pytest.mark.parametrize(
    ("number", "unit", "value"),
    [(14, "nm", 14.0), ("14", "nm", 14.0), ("0.18 um", "nm", 180.0), (858, "mm2", 858e-6)],
)
def test_bare_numbers_are_in_the_schemas_unit(number: object, unit: str, value: float) -> None:
    assert parse(number, unit) == value


@pytest.mark.parametrize("value", ["nan", "-inf", "Infinity", float("nan"), float("inf"), "1e999"])
def test_numbers_must_be_finite(value: object) -> None:
    with pytest.raises(InputError, match="finite"):
        parse(value, "s")


@pytest.mark.parametrize("value", ["", "abc", "1,000", "1_000", "1 2", True, None, [1], {}])
def test_what_is_not_a_number_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        parse(value, "Hz", field="clock")


@pytest.mark.parametrize("value", ["4,5 MB", "1:30", "1_000", "4;5", "1'000", "4..5", "1.000,5 MB"])
def test_another_way_to_write_a_number_is_no_unit(value: str) -> None:
    with pytest.raises(InputError, match="sram: is not a number") as caught:
        parse(value, "byte", field="sram")
    assert repr(value) in str(caught.value)
    assert ("a decimal point" in str(caught.value)) == ("," in value or "'" in value)


def test_an_unknown_unit_names_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        parse("4 MBy", "byte", field="sram", file="a.yaml")
    assert "a.yaml: sram" in str(caught.value)
    assert "MiB" in str(caught.value)
    with pytest.raises(InputError, match="did you mean MB"):
        parse("4 mb", "byte")


def test_a_unit_of_another_dimension_is_refused() -> None:
    with pytest.raises(InputError, match="is not in byte") as caught:
        parse("4 GHz", "byte")
    assert "MB" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("4 GB/s", "has a unit, and is a plain number"), ("0x10", "unknown unit for a plain number")],
)
def test_a_plain_number_has_no_unit(text: str, words: str) -> None:
    """No unit called 1 is offered."""
    with pytest.raises(InputError, match=words) as caught:
        parse(text, "1")
    said = caught.value.message()
    assert "allowed: no unit, %" in said and "did you mean" not in said
    assert parse("50 %", "1") == 0.5


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00123, "s", "1.23 ms"),
        (999.96, "Hz", "1.00 kHz"),
        (4e6, "byte", "4.00 MB"),
        (1e11, "byte/s", "100 GB/s"),
        (3.3e-4, "m2", "330 mm2"),
        (0.0, "J", "0 J"),
        (-2.5e-6, "J", "-2.50 uJ"),
        (1e-17, "J", "0.0100 fJ"),
        (14.0, "nm", "14.0 nm"),
        (123456.0, "1", "123456"),
        (math.nan, "s", "-"),
    ],
)
def test_numbers_are_shown_with_a_prefix(value: float, unit: str, text: str) -> None:
    assert format_si(value, unit) == text


@given(st.floats(1e-14, 1e14), st.sampled_from(["s", "Hz", "J", "W", "byte/s"]))
def test_what_is_shown_reads_back(value: float, unit: str) -> None:
    assert parse(format_si(value, unit, digits=15), unit) == pytest.approx(value, rel=1e-12)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_bare_number_in_si_is_itself(value: float) -> None:
    assert parse(value, "s") == value
    assert parse(repr(value), "s") == value


@pytest.mark.parametrize(
    ("settings", "allowed"),
    [
        ({"accelerator.arrays": "200%"}, False),
        ({"workload.batch": "100 %"}, False),
        ({"model.layers": "300 %"}, False),
        ({"accelerator.sram": "4 MB"}, True),
    ],
)
def test_a_count_is_no_share(settings: dict[str, object], allowed: bool) -> None:
    """200 % of an array would be two of them to one reader, and twice the default to another."""
    if allowed:
        assert elector.simulate("decoder", "systolic", settings=settings)["feasible"]
        return
    with pytest.raises(InputError, match="is a count, not a share of one"):
        elector.simulate("decoder", "systolic", settings=settings)


def test_shares_and_units_that_are_none_of_a_count() -> None:
    one = elector.simulate("bert-tiny", "gpu", settings={"accelerator.host_speed": "150 %"})
    other = elector.simulate("bert-tiny", "gpu", settings={"accelerator.host_speed": 1.5})
    assert one["latency_s"] == other["latency_s"]
    with pytest.raises(InputError) as raised:
        elector.simulate("bert-tiny", "systolic", settings={"accelerator.rows": "16 MB"})
    assert raised.value.allowed == ["no unit"]
    with pytest.raises(InputError) as raised:
        elector.simulate("bert-tiny", "gpu", settings={"accelerator.host_speed": "2 MB"})
    assert raised.value.allowed == ["no unit", "%"]
