"""What `explain` prints: terms with their prices, and the table rows below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from elector.base import quantity
from elector.base.units import format_si
from elector.cli import text
from elector.cli.text import Record
from elector.cost.results import registry


def explanation(derivation: Record, title: str, format: str) -> None:
    """The derivation of one result: value, formula, terms, and the rows below them."""
    if format == "json":
        text.as_json(derivation)
        return
    if format == "csv":
        text.as_csv([_flat(term) for term in derivation["terms"]])
        return
    value, unit = derivation["value"], derivation["unit"]
    click.echo(f"{derivation['result']} of {title}: {_result(derivation['result'], value)}")
    click.echo(text.paragraph(f"= {derivation['formula']}") + "\n")
    kind = derivation.get("terms_of", derivation["result"])
    _parts(derivation.get("parts", ()))
    if derivation.get("terms_formula"):
        click.echo(text.paragraph(f"{kind} = {derivation['terms_formula']}") + "\n")
    if derivation.get("instead"):
        others = ", ".join(f"--result {name}" for name in derivation["instead"])
        click.echo(text.paragraph(f"it has no breakdown of its own; explain {others}"))
    unit = registry().get(kind).unit
    if "units" in derivation:
        _units_of(derivation["units"], unit)
    if kind == "latency_s":  # which module each operation waits for
        _modules(derivation)
    if any("price" in term for term in derivation["terms"]):
        _priced(derivation["terms"], unit)
    elif derivation["terms"]:
        _plain(derivation, kind, unit)
    if derivation.get("figures"):
        cells = [
            [f["name"], _shown(f["value"], f["unit"]), f["evidence"]] for f in derivation["figures"]
        ]
        header = ("figure of a data sheet", "value", "evidence")
        click.echo("\n" + text.table(cells, header, right=(1,), fold=(0, 2)))
    _constants(derivation.get("constants", ()))
    if derivation["rows"]:
        click.echo("\nrows of the technology tables\n" + _rows_table(derivation["rows"]))
        click.echo(f"\n{derivation['assumed']} of {len(derivation['rows'])} rows are assumed")


def _result(name: str, value: float) -> str:
    """A result as people read it."""
    return registry().show(name, value)


def _constants(constants: Sequence[Record]) -> None:
    """Constants that seconds rest on, each a row of a table with its source."""
    cells = [
        [
            constant["name"],
            _constant(constant),
            f"{constant['evidence']}: {constant['source']}",
        ]
        for constant in constants
    ]
    if cells:
        of = "kernels" if any("low" not in constant for constant in constants) else "the machine"
        header = (f"constant of {of}", "value", "evidence")
        click.echo("\n" + text.table(cells, header, right=(1,), fold=(0, 2)))


def _constant(constant: Record) -> str:
    """Its value, and what nine of ten such constants lie between where its table says."""
    unit = f" {constant['unit']}" if constant["unit"] != "1" else ""
    ends = f" ({constant['low']:g} to {constant['high']:g})" if "low" in constant else ""
    return f"{constant['value']:g}{unit}{ends}"


def _parts(parts: Sequence[Record]) -> None:
    """The factors that a result multiplies out from; several products add up."""
    rows: list[list[str]] = []
    for place, part in enumerate(parts):
        for i, factor in enumerate(part["factors"]):
            sign = "/" if factor["over"] else "x" if i else "+" if place else ""
            value = factor["value"]
            plain = factor["unit"] == "1"
            shown = quantity.plain(value, 6) if plain else _shown(value, factor["unit"])
            rows.append([sign, shown, factor["name"]])
    if rows:
        click.echo(text.table(rows, right=(1,), fold=(2,)) + "\n")


def _flat(term: Record) -> dict[str, Any]:
    """A term for CSV: its factors as their product, with their names."""
    factors = term.get("factors")
    if factors is None:
        return dict(term)
    product = 1.0
    for factor in factors:
        product *= factor["value"]
    names = "; ".join(factor["name"] for factor in factors)
    return {**term, "factors": names, "factor": product}


def _priced(terms: Sequence[Record], unit: str) -> None:
    """Terms as amount x price x law, and below each how its price was derived."""
    whole = sum(term["value"] for term in terms)
    shown = [term for term in terms if term["value"]]
    rows = [
        [
            term["name"],
            _shown(term["value"], unit),
            _share(term["value"], whole),
            _amount(term, unit),
            part_of_price(term["price"], term["price_unit"]),
            _factor(term),
        ]
        for term in shown
    ]
    header = ("term", "value", "share", "count", "price", "x")
    heading, *blocks = text.blocks(rows, header, right=range(1, 6), fold=(0,))
    click.echo(heading)
    for term, block in zip(shown, blocks, strict=True):
        words = [f["name"] for f in term["factors"] if f["name"] not in _PLAIN]
        derived = "; x ".join([f"{_evidence(term)}: {term['derivation']}", *words])
        click.echo(block + "\n" + text.paragraph(derived, "      "))
    zero = [term["name"] for term in terms if not term["value"]]
    if zero:
        click.echo(text.paragraph(f"nothing of: {', '.join(zero)}", "  "))


def _evidence(term: Record) -> str:
    """What a price rests on, and what it counts as where its rows were only quoted."""
    evidence, counts = str(term["evidence"]), term.get("counts_as")
    quoted = counts == "assumed" and evidence != "assumed"
    return f"{evidence}, quoted once, counts as assumed" if quoted else evidence


def _amount(term: Record, unit: str) -> str:
    """How many of what is priced: joules, watts or square millimetres where the price is a share
    of it."""
    amount = term.get("count", term.get("amount", 0.0))
    if term["price_unit"] == "1" and "watts" in term:
        return quantity.show(amount, "W")
    if term["price_unit"] == "1" and "count" in term and unit == "J":
        return quantity.show(amount, "J")
    if term["price_unit"].endswith("/m2") or term["price_unit"] == "1":
        return quantity.show(amount, "m2")
    return quantity.plain(amount, 6)


#: Factors that a unit says already.
_PLAIN = ("seconds", "mm2 of a m2")


def _factor(term: Record) -> str:
    """The product of what a price is multiplied by, but for changes of unit."""
    product = 1.0
    for factor in term["factors"]:
        product *= 1.0 if factor["name"] == "mm2 of a m2" else factor["value"]
    if [factor["name"] for factor in term["factors"]] == ["seconds"]:
        return quantity.show(product, "s")
    return "" if product == 1.0 else quantity.plain(product)


def _plain(derivation: Record, kind: str, unit: str) -> None:
    """Terms without prices: counts, or what a time or a ratio is made of.

    kind : the result whose terms they are. unit : of that.
    """
    terms = derivation["terms"]
    if kind == "latency_s":
        header = ["operation", "value", "count", "cycles", "layer", "phase", "bound"]
        rows = [
            [
                term["name"],
                _shown(term["value"], unit),
                quantity.plain(term["count"]),
                quantity.plain(term["cycles"]),
                term["layer"],
                term["phase"],
                term["bound"],
            ]
            for term in terms
        ]
        click.echo(text.table(rows, header, right=(1, 2, 3), fold=(0, 4, 5, 6)))
        return
    whole = sum(term["value"] for term in terms)
    sums = kind in ("macs", "parameters", "active_parameters")
    timed = unit == "s"
    rows = [
        [
            term["name"],
            term["part"],
            _shown(term["value"], unit) if timed else quantity.plain(term["value"], 6),
            _share(term["value"], whole) if sums else "",
            quantity.plain(term["count"]) if "count" in term else "",
        ]
        for term in terms
    ]
    header = ["term", "part", "value", "share", "count"]
    kept = 5 if sums else 3
    cells = [row[:kept] for row in rows]
    click.echo(text.table(cells, header[:kept], right=range(2, kept), fold=(0, 1)))


def _modules(derivation: Record) -> None:
    """How long each module is busy in the step, and how long its stages take."""
    whole = sum(derivation["stages_s"].values())
    for key, title in (("loads_s", "busy"), ("stages_s", "stage")):
        rows = [
            [name, _shown(value, "s"), _share(value, whole)]
            for name, value in sorted(derivation[key].items(), key=lambda item: -item[1])
            if value
        ]
        click.echo(text.table(rows, (title, "value", "share")) + "\n")
    for own in derivation["clocks"]:
        of = f"{own['unit']}, {own['stage']}" if own["unit"] else own["stage"]
        setting = f"accelerator.units.{own['unit']}." if own["unit"] else "accelerator."
        share, watts = quantity.show(100.0 * own["share"], "%"), quantity.show(own["watts"], "W")
        words = f"{of}: at {share} of the full clock, to stay within {setting}power_limit ({watts})"
        click.echo(text.paragraph(words, "  ") + "\n")
    _accounts(derivation)


def _accounts(derivation: Record) -> None:
    """What each stage waits for: the longest decides."""
    for stage, account in derivation["accounts"].items():
        streams = f"{account['streams']:g} stream" + "s" * (account["streams"] != 1)
        start = f", {_shown(account['start_s'], 's')} before it" if account["start_s"] else ""
        rows = [
            [name, *(_shown(bound[key], "s") for key in ("works_s", "idles_s", "total_s"))]
            for name, bound in account["bounds"].items()
            if bound["total_s"]
        ]
        header = (f"{stage}: {streams}{start}", "works", "idles at least", "total")
        click.echo(text.table(rows, header, right=(1, 2, 3)) + "\n")


def _units_of(units: dict[str, float], unit: str) -> None:
    """What each unit and link of a hybrid adds."""
    whole = sum(units.values())
    rows = [[name, _shown(value, unit), _share(value, whole)] for name, value in units.items()]
    click.echo(text.table(rows, ["unit", "value", "share"], right=(1, 2)) + "\n")


def part_price(part: Record, format: str) -> None:
    """The prices of a part at one node, and the rows they rest on."""
    if format == "json":
        text.as_json(part)
        return
    if format == "csv":
        text.as_csv(part["rows"])
        return
    click.echo(f"{part['part']} at {part['node_nm']:g} nm\n")
    for p in part["prices"]:
        shown = part_of_price(p["value"], p["unit"]) + p["law_text"]
        click.echo(text.paragraph(f"{p['quantity']}: {shown}", "  "))
        click.echo(text.paragraph(f"{p['evidence']}: {p['derivation']}", "      "))
    click.echo("\nrows of the technology tables\n" + _rows_table(part["rows"]))
    references = dict.fromkeys(
        f"{row['source'].split(' ')[0]}: {row['reference']}"
        for row in part["rows"]
        if row["reference"]
    )
    if references:
        click.echo("\nsources")
        for line in references:
            click.echo(text.paragraph(line, "  "))


def _rows_table(rows: Sequence[Record]) -> str:
    cells = [[row["id"], row["value"], row["evidence"], row["source"]] for row in rows]
    return text.table(cells, ("row", "value", "evidence", "source"), fold=(0, 1, 3))


def _shown(value: float, unit: str) -> str:
    return quantity.show(value, unit)


def _share(value: float, whole: float) -> str:
    return quantity.show(100.0 * value / whole, "%") if whole else ""


def part_of_price(value: float, unit: str) -> str:
    """A price: areas in square micrometres, since a prefix would square with m2."""
    if unit.startswith("m2"):
        return f"{quantity.plain(value * 1e12)} um2{unit[2:].replace('byte', 'B')}"
    if unit.endswith("/m2"):
        return format_si(value / 1e6, unit.replace("/m2", "/mm2"))
    if unit == "1" or value == 0:
        return f"{quantity.plain(value)} {unit}".replace(" 1", "")
    return format_si(value, unit)
