"""The language of conditions: what it means, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elector.base.errors import InputError
from transcode.space import grammar
from transcode.space.grammar import NamedQuantity

VALUES = {
    "a": np.array([1.0, 2.0, 3.0, 4.0]),
    "b": np.array([2.0, 2.0, np.nan, 8.0]),
    "t": np.array(["ws", "os", "ws", "is"], dtype=object),
    "latency_s": np.array([1e-3, 5e-3, 6e-3, 1.0]),
    "area_mm2": np.array([10.0, 100.0, 858.0, 900.0]),
    "accelerator.sram": np.array([1e6, 2e6, 4e6, 8e6]),
}
QUANTITIES = {
    "a": NamedQuantity(),
    "b": NamedQuantity(),
    "t": NamedQuantity("text"),
    "latency_s": NamedQuantity("s"),
    "area_mm2": NamedQuantity("mm2"),
    "accelerator.sram": NamedQuantity("byte"),
}


def holds(text: str) -> list[bool]:
    expression = grammar.bind(grammar.parse(text), QUANTITIES)
    return [bool(v) for v in grammar.holds(expression, VALUES.__getitem__)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <= 2", [1, 1, 0, 0]),
        ("a % 2 == 0", [0, 1, 0, 1]),
        ("b // a == 2", [1, 0, 0, 1]),
        ("a < b", [1, 0, 0, 1]),  # a comparison with what is missing does not hold
        ("not a < b", [0, 1, 1, 0]),
        ("a == 1 or a == 4 and b == 2", [1, 0, 0, 0]),  # `and` binds tighter
        ("(a == 1 or a == 4) and b == 8", [0, 0, 0, 1]),
        ("a - -1 == 2", [1, 0, 0, 0]),
        ("2 * a + 1 == 7", [0, 0, 1, 0]),
        ("2 * (a + 1) == 8", [0, 0, 1, 0]),
        ("8 / a / 2 == 1", [0, 0, 0, 1]),
        ("min(a, b, 3) == 2", [0, 1, 0, 0]),
        ("max(a, 3) == 3", [1, 1, 1, 0]),
        ("abs(a - 2) <= 1", [1, 1, 1, 0]),
        ("t == 'ws'", [1, 0, 1, 0]),
        ('t in ["ws", "is"]', [1, 0, 1, 1]),
        ("a in [1, 3]", [1, 0, 1, 0]),
        ("latency_s <= 5 ms", [1, 1, 0, 0]),
        ("5ms >= latency_s", [1, 1, 0, 0]),
        ("area_mm2 <= 858", [1, 1, 1, 0]),
        ("area_mm2 <= 1 cm2", [1, 1, 0, 0]),
        ("accelerator.sram >= 2 MB and accelerator.sram < 4 MiB", [0, 1, 1, 0]),
    ],
)
def test_meaning(text: str, expected: list[int]) -> None:
    assert holds(text) == [bool(v) for v in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a <=", "it ends too soon"),
        ("  ", "it is empty"),
        ("min(a, b <= 5", "expected ')' before '<='"),
        ("a in [1, 2", "expected ']' at the end"),
        ("a <= 1 2", "did not expect '2'"),
        ("1 < a < 3", "chained"),
        ("a", "not a condition"),
        ("a + 1", "not a condition"),
        ("(a < 1) + 2 < 3", "not a condition"),
        ("(not a) > 1", "not a condition"),
        ("a / (not -16) > 1", "not a condition"),
        ("(a and 2) * 3 == 1", "not a condition"),
        ("(a or 2) in [1, 2]", "not a condition"),
        ("not -16", "not a condition"),
        ("(not a) > 2", "not a condition"),
        ("(a or b) < 1", "not a condition"),
        ("-(a and b) < 1", "not a condition"),
        ("a in [(not b)]", "not a condition"),
        ("a <= 1; b", "cannot be read: at ';"),
        ("__import__('os').system('true') == 0", "cannot be read"),
        ("floor(a) == 1", "unknown function 'floor'"),
        ("abs(a, b) == 1", "abs takes one value"),
        ("(" * 60 + "a", "nested"),
        ("a in [1", "expected ']'"),
        ("c < 1", "unknown name"),
        ("t < 'ws'", "text can only"),
        ("t == ws", "unknown name"),
        ("a == 'ws'", "text can only"),
        ("3 ms < 4", "does not follow"),
        ("latency_s <= 5 MB", "is not in s"),
        ("latency_s + accelerator.sram <= 5 ms", "does not follow"),
        ("a < 1 " + "or a < 1 " * 400, "longer"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        holds(text)
    assert words in str(caught.value)


def test_a_condition_is_text() -> None:
    with pytest.raises(InputError, match="text"):
        grammar.parse(5)


def test_the_nearest_name_is_suggested() -> None:
    with pytest.raises(InputError, match=r"accelerator\.sram"):
        holds("accelerator.sramm > 1")


@pytest.mark.parametrize(
    "text",
    [
        "a <= 2",
        "a >= 2",
        "a == 2",
        "a != 2",
        "a < 2",
        "a > 2 or b < 3",
        "a > 1 and b < 9",
        "not a > 2",
        "t == 'ws'",
        "a in [1, 2]",
        "b <= 3",
    ],
)
def test_margin_is_at_most_zero_exactly_where_it_holds(text: str) -> None:
    expression = grammar.bind(grammar.parse(text), QUANTITIES)
    margin = grammar.margin(expression, VALUES.__getitem__)
    assert np.array_equal(margin <= 0, grammar.holds(expression, VALUES.__getitem__))
    assert np.isfinite(margin).all()


def test_margin_is_relative() -> None:
    expression = grammar.parse("area_mm2 <= 800")
    margin = grammar.margin(expression, VALUES.__getitem__)
    assert margin[3] == pytest.approx(0.125)
    assert margin[0] == pytest.approx(-0.9875)


def test_bounds_are_those_that_must_hold() -> None:
    text = "a <= 2 and 3 < b and (a == 1 or b == 2) and a + b < 9 and 2 * 3 >= a"
    assert grammar.bounds(grammar.parse(text)) == [
        ("a", "<=", 2.0),
        ("b", ">", 3.0),
        ("a", "<=", 6.0),
    ]


@given(st.text(alphabet="ab1.5 <>=!+-*/%()[]'\"andornt,ms_", max_size=30))
def test_nothing_but_an_input_error_comes_out(text: str) -> None:
    try:
        expression = grammar.bind(grammar.parse(text), QUANTITIES)
    except InputError:
        return
    mask = grammar.holds(expression, VALUES.__getitem__)
    assert mask.dtype == bool


# ---- what is not finite


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a / 0 > 1", [0, 0, 0, 0]),
        ("not a / 0 > 1", [0, 0, 0, 0]),
        ("a // 0 == 0", [0, 0, 0, 0]),
        ("a / 0 != 1", [0, 0, 0, 0]),
        ("a in [a / 0, 7]", [0, 0, 0, 0]),
        ("a * 1e308 * 10 > 0", [0, 0, 0, 0]),
        ("1 / (a - 1) > 0", [0, 1, 1, 1]),
        ("a == 1 or 1 / (a - 1) > 0.6", [1, 1, 0, 0]),  # decided where it can be
        ("not (a == 1 or 1 / (a - 1) > 0.6)", [0, 0, 1, 1]),
        ("a > 1 and 1 / (a - 1) < 0.6", [0, 0, 1, 1]),
        ("not b * 2 < 5", [0, 0, 1, 1]),  # missing is not infinite: as before
    ],
)
def test_arithmetic_that_gives_no_number_decides_nothing(text: str, expected: list[int]) -> None:
    expression = grammar.bind(grammar.parse(text), QUANTITIES)
    assert holds(text) == [bool(v) for v in expected]
    margins = grammar.margin(expression, VALUES.__getitem__)
    assert (margins <= 0).tolist() == [bool(v) for v in expected] and np.isfinite(margins).all()


def test_whole_numbers_divided_by_zero_are_no_zero() -> None:
    expression = grammar.bind(grammar.parse("n // 0 == 0"), {"n": NamedQuantity()})
    assert not grammar.holds(expression, lambda name: np.array([0, 1])).any()
    assert grammar.undecided(expression, lambda name: np.array([0, 1])).all()


def test_a_result_that_is_infinite_itself_is_compared() -> None:
    expression = grammar.bind(grammar.parse("n / 2 >= 5"), {"n": NamedQuantity()})
    values = np.array([np.inf, 4.0, np.nan])
    assert grammar.holds(expression, lambda name: values).tolist() == [True, False, False]
    assert not grammar.undecided(expression, lambda name: values).any()


@pytest.mark.parametrize("text", ["a <= 1e400", "1e309 > a", "latency_s < 5e400 ms"])
def test_a_literal_that_overflows_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is larger than any number"):
        grammar.parse(text)


@pytest.mark.parametrize(
    "text", ["a / 0 > 1", "a // 0 > 1", "a % 0.0 > 1", "a / (2 - 2) > 1", "a > 1 / min(0, 1)"]
)
def test_a_division_by_a_constant_zero(text: str) -> None:
    expression = grammar.bind(grammar.parse(text), QUANTITIES)
    with pytest.raises(InputError, match="where: divides by 0"):
        grammar.require_finite(expression, field="where")
    with pytest.raises(InputError, match="larger than any"):
        grammar.require_finite(grammar.parse("a > 1e300 * 1e300"))
    finite = grammar.parse("a / (2 - 1) > 1e300 * 1e-300 and b / a > 0")
    assert grammar.require_finite(finite) is finite


@pytest.mark.parametrize("text", ["not a", "a or b", "(a and b) * 2", "a < 1"])
def test_a_condition_is_no_number(text: str) -> None:
    with pytest.raises(InputError, match="is a condition, not a number"):
        grammar.parse_value(text)


@pytest.mark.parametrize("text", ["t", "min(t, a)", "t * 2"])
def test_text_is_no_number(text: str) -> None:
    with pytest.raises(InputError, match=r"define\.edp: .*text"):
        grammar.bind(grammar.parse_value(text), QUANTITIES, field="define.edp")
