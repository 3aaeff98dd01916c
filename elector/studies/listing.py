"""What ships with the program, as records: models, accelerators, technology constants."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from elector.base.table import Column, schema
from elector.cost.results import registry
from elector.describe.formats import list_models, load_model
from elector.evaluation.accelerators import list_accelerators, load_accelerator
from elector.machines import MACHINES
from elector.studies.simulation import features
from elector.technology import Technology, laws
from elector.technology.pricing import sources
from elector.technology.rows import ConstantRow, quantities_of

Record = dict[str, object]


def models() -> list[Record]:
    """Name, family, sizes, parameters and source of every shipped model."""
    names = list_models()
    features_of = features({"model": Column.of(names)}, len(names))
    records = []
    for i, name in enumerate(names):
        model = load_model(name)
        sizes = {
            key: int(features_of[key][i])
            for key in ("layers", "hidden", "heads", "feed_forward", "parameters")
            if not np.isnan(features_of[key][i])
        }
        records.append(
            {
                "name": name,
                "family": model.family,
                **sizes,
                "head": model.head,
                "source": model.source,
            }
        )
    return records


def accelerators() -> list[Record]:
    """Name, machine kind, description and source of every shipped accelerator."""
    records: list[Record] = []
    for name in list_accelerators():
        loaded = load_accelerator(name)
        records.append(
            {
                "name": name,
                "machine": loaded.machine.name,
                "description": loaded.description,
                "source": loaded.source,
            }
        )
    return records


def results() -> list[Record]:
    """Every result: its row of data/results.csv."""
    return [asdict(metric) | {"source": "data/results.csv"} for metric in registry()]


def settings() -> list[Record]:
    """Every setting under its dotted name: unit, default, choices, where it counts."""
    spaces = {"model": ["model"], "workload": ["workload"]}
    spaces["accelerator"] = [machine.schema for machine in MACHINES.values()]
    return [
        {
            "name": f"{space}.{key}",
            "schema": name,
            "type": field.type,
            "unit": "" if field.unit == "1" else field.unit,
            "default": field.default,
            "low": field.low,
            "high": field.high,
            "choices": "|".join(field.choices),
            "applies": field.applies,
            "description": field.description,
            "source": f"data/schema/{name}.csv",
        }
        for space, names in spaces.items()
        for name in names
        for key, field in schema(name).items()
    ]


def technologies(technology: Technology) -> list[Record]:
    """Every constant of a technology, as written in its table."""
    return [row_told(row) for row in technology.rows]


def explain_price(part: str, technology: Technology, node: object = None) -> Record:
    """The prices of a part at a node [nm] and the rows they rest on.

    Returns part, node_nm, prices (quantity, value, unit, law, evidence, derivation, rows)
    and rows. `node` None is the default of the systolic schema.
    """
    at = float(schema("systolic")["node"].parse(node, field="--node"))
    rows = {row.id: row for row in technology.explain(part)}
    prices = []
    for quantity in quantities_of(part):
        price = technology.price(part, quantity, at)
        # Those that carry it to the node are of another part.
        behind = (*price.rows, *([price.floor_row] if price.floor_row else []))
        rows |= {name: technology.row(name) for name in behind if name not in rows}
        prices.append(
            {
                "quantity": quantity,
                "value": price.value,
                "unit": price.unit,
                "law": price.law,
                "law_text": laws.general(price.law, float(price.floor)),
                "evidence": price.evidence,
                "derivation": price.note,
                "rows": list(price.rows),
            }
        )
    return {
        "part": part,
        "node_nm": at,
        "prices": prices,
        "rows": [row_told(row) for row in rows.values()],
    }


def row_told(row: ConstantRow) -> Record:
    """A constant as written in its table, and the publication its source stands for."""
    first = row.source.partition(" ")[0]
    known = sources()
    return {
        "id": row.id,
        "part": row.part,
        "quantity": row.quantity,
        "value": row.text,
        "node_nm": row.node,
        "evidence": row.evidence,
        "source": row.source,
        "reference": known.get(first, ""),
        "note": row.note,
        "looked_for": row.looked_for,
    }
