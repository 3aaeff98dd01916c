"""What `explain` prints: terms with their prices, and the table rows below them."""

from __future__ import annotations

from collections.abc import Sequence

import click

from elector.base import quantity
from elector.base.units import format_si
from elector.cli import text
from elector.cli.text import Record


def explanation(found: Record, title: str, format: str) -> None:
    """The derivation of one result: value, formula, terms, and the rows below them."""
    if format == "json":
        text.as_json(found)
        return
    if format == "csv":
        text.as_csv(found["terms"])
        return
    value, unit = found["value"], found["unit"]
    click.echo(f"{found['result']} of {title}: {_quantity(value, unit)}\n= {found['formula']}\n")
    if "units" in found:
        _units_of(found["units"], unit if found["result"] != "power_w" else "J")
    priced = any("price" in term for term in found["terms"])
    header = ["term", "part", "value", "share", "count"]
    header += ["price", "evidence", "derivation"] if priced else []
    total = sum(term["value"] for term in found["terms"])
    rows = [
        _term_row(term, unit if found["result"] != "power_w" else "J", total, priced)
        for term in found["terms"]
    ]
    if found["result"] == "utilization":  # terms of different kinds: no unit and no share
        rows = [[t["name"], t["part"], f"{t['value']:.6g}", "", ""] for t in found["terms"]]
    if found["result"] == "latency_s":  # which module each operation waits for
        header += ["cycles", "layer", "phase", "bound"]
        rows = [
            [*row, f"{t['cycles']:,.0f}", t["layer"], t["phase"], t["bound"]]
            for row, t in zip(rows, found["terms"], strict=True)
        ]
        _modules(found)
    click.echo(text.table(rows, header, right=(2, 3, 4, 5) if not priced else (2, 3, 4)))
    if found["rows"]:
        click.echo("\nrows of the technology tables\n" + _rows_table(found["rows"]))
        click.echo(f"\n{found['assumed']} of {len(found['rows'])} rows are assumed")


def _modules(found: Record) -> None:
    """How long each module is busy in the step, and how long its stages take."""
    for key, title in (("loads_s", "busy"), ("stages_s", "stage")):
        rows = [
            [name, _quantity(value, "s"), _quantity(100 * value / found["value"], "%")]
            for name, value in sorted(found[key].items(), key=lambda item: -item[1])
            if value
        ]
        click.echo(text.table(rows, (title, "value", "share")) + "\n")


def _units_of(units: dict[str, float], unit: str) -> None:
    """What each unit and link of a hybrid adds."""
    total = sum(units.values())
    rows = [
        [name, _quantity(value, unit), _quantity(100 * value / total, "%") if total else ""]
        for name, value in units.items()
    ]
    click.echo(text.table(rows, ["unit", "value", "share"], right=(1, 2)) + "\n")


def _term_row(term: Record, unit: str, total: float, priced: bool) -> list[str]:
    count = term.get("count")
    row = [
        term["name"],
        term["part"],
        _quantity(term["value"], unit),
        _quantity(100 * term["value"] / total, "%") if total else "",
        "" if count is None else text.cell(int(count) if float(count).is_integer() else count),
    ]
    if priced:
        price = _price(term["price"], term["price_unit"]) if "price" in term else ""
        if term.get("law") == "sqrt_size":
            price += " x sqrt(MB)"
        row += [price, term.get("evidence", ""), term.get("derivation", "")]
    return row


def part_price(found: Record, format: str) -> None:
    """The prices of a part at one node, and the rows they rest on."""
    if format == "json":
        text.as_json(found)
        return
    if format == "csv":
        text.as_csv(found["rows"])
        return
    click.echo(f"{found['part']} at {found['node_nm']:g} nm\n")
    rows = [
        [
            p["quantity"],
            _price(p["value"], p["unit"]) + (" x sqrt(MB)" if p["law"] == "sqrt_size" else ""),
            p["evidence"],
            p["derivation"],
        ]
        for p in found["prices"]
    ]
    click.echo(text.table(rows, ("quantity", "price", "evidence", "derivation")))
    click.echo("\nrows of the technology tables\n" + _rows_table(found["rows"]))
    references = dict.fromkeys(
        f"{row['source'].split(' ')[0]}: {row['reference']}"
        for row in found["rows"]
        if row["reference"]
    )
    if references:
        click.echo("\nsources\n" + "\n".join(f"  {line}" for line in references))


def _rows_table(rows: Sequence[Record]) -> str:
    cells = [[row["id"], row["value"], row["evidence"], row["source"]] for row in rows]
    return text.table(cells, ("row", "value", "evidence", "source"))


def _quantity(value: float, unit: str) -> str:
    return quantity.show(value, unit)


def _price(value: float, unit: str) -> str:
    """A price: a prefix would square with m2, so those are written out."""
    if unit.startswith("m2") or unit == "1" or value == 0:
        return f"{value:.4g} {unit}".replace(" 1", "")
    return format_si(value, unit)
