"""One model on one accelerator as an HTML page: roofline, and what time, energy and area are of.

The roof is the peak in the number format of the workload and the bandwidth of main memory
(Williams et al., Roofline, CACM 52(4), 2009): operations a second = min(peak, bandwidth x
operations a byte). An operation stands at its own operations a byte, and at what it reaches.
"""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elector.base import page, quantity
from elector.base.page import Columns
from elector.cost.results import ENDS, registry
from elector.evaluation.settings import setting_shown
from elector.studies.simulation import simulate, workload_line
from elector.technology import Technology

#: Breakdowns of the page -> the result that they add up to.
TOTALS = {
    "latency_by_kind_s": "latency_s",
    "energy_by_part_j": "energy_j",
    "energy_by_phase_j": "energy_j",
    "provenance": "",
    "area_by_part_mm2": "area_mm2",
    "memory_bytes": "",
}
#: Where operations stand that touch no main memory [operations a byte], at least.
RIGHT = 1e4


def report(
    model: str,
    accelerator: str,
    out: str | Path,
    *,
    settings: Mapping[str, object] | None = None,
    technology: Technology | None = None,
    words: Sequence[str] = (),
    uncertainty: bool = False,
    samples: int = 1000,
    seed: int = 0,
) -> Path:
    """Write the page of one pair and return where it lies.

    model, accelerator, settings, technology, uncertainty, samples, seed : as of `simulate`; with
    intervals the page shows that of each result, in numbers and as a bar. out : the file to write.
    words : what the commands that repeat it need beside the settings (`--technology FILE`).
    An infeasible pair has a page with its reason, its area and its memory.
    Raises InputError for bad settings.
    """
    costs = simulate(
        model,
        accelerator,
        settings=settings,
        technology=technology,
        operations=True,
        uncertainty=uncertainty,
        samples=samples,
        seed=seed,
    )
    columns = Columns()
    operations: list[dict[str, Any]] = list(costs["operations"] or ())  # type: ignore[call-overload]
    _operations(operations, columns)
    title = f"{model} on {accelerator}"
    told = {
        "name": title.replace(" ", "-").replace("/", "-"),
        "operations": len(operations),
        "groups": _groups(costs),
        "roof": _roof(costs, operations),
        "intervals": _intervals(costs),
    }
    path = Path(out)
    draws = f" --uncertainty --samples {samples} --seed {seed}" if uncertainty else ""
    body = _body(costs, title, _command([model, accelerator], settings or {}, words), draws)
    page.write(page.document(title, body, told, columns, "pair.js"), path)
    return path


def _operations(operations: Sequence[Mapping[str, Any]], columns: Columns) -> None:
    """The operations as columns: numbers to draw, texts to read."""
    ops = [_count(op) for op in operations]
    columns.numbers("ops", np.array(ops, dtype=float))
    for name, key in (("seconds", "seconds"), ("joules", "joules"), ("bytes", "dram_bytes")):
        columns.numbers(name, np.array([op[key] or 0.0 for op in operations], dtype=float))
    columns.numbers("count", np.array([op["count"] for op in operations], dtype=float))
    for name in ("name", "layer", "phase", "kind", "bound"):
        columns.coded(name, [str(op[name]) for op in operations])
    columns.texts("time", [_shown(op["seconds"], "s") for op in operations])
    columns.texts("energy", [_shown(op["joules"], "J") for op in operations])
    rates, dense = [], []
    for op, count in zip(operations, ops, strict=True):
        seconds, size = op["seconds"], op["dram_bytes"]
        rates.append(quantity.show(count / seconds, "op/s") if count and seconds else "-")
        dense.append(f"{quantity.plain(count / size, 3)} op/B" if count and size else "-")
    columns.texts("rate", rates)
    columns.texts("intensity", dense)


def _shown(value: float, unit: str) -> str:
    return quantity.pretty(quantity.show(value, unit))


def _count(op: Mapping[str, Any]) -> float:
    """Operations of a product, two a multiply-accumulate; 0 for what is none."""
    if op["k"] == op["n"] == 1:
        return 0.0
    return 2.0 * op["batch"] * op["m"] * op["k"] * op["n"] * op["count"]


def _roof(
    costs: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]
) -> dict[str, float] | None:
    """Peak [op/s], bandwidth [byte/s], and the ends of the axes."""
    drawn = [(op, _count(op)) for op in operations if _count(op) and op["seconds"]]
    if not drawn:
        return None
    rates = [count / op["seconds"] for op, count in drawn]
    dense = [count / op["dram_bytes"] for op, count in drawn if op["dram_bytes"]]
    peak = max(float(costs.get("peak_ops_per_s") or 0.0), *rates)
    bandwidth = _bandwidth(costs["settings"]) or max(
        (op["dram_bytes"] / op["seconds"] for op, _ in drawn), default=1.0
    )
    right = max(RIGHT, 3 * max(dense, default=1.0), 10 * peak / bandwidth)
    return {
        "peak": peak,
        "bandwidth": bandwidth,
        "left": min([*dense, peak / bandwidth]) / 10,
        "right": right,
        "low": min(rates) / 5,
    }


def _bandwidth(settings: Mapping[str, Mapping[str, Any]]) -> float:
    """Of main memory [byte/s]; of a hybrid, of all its units together."""
    values = [
        float(entry["value"])
        for key, entry in settings.items()
        if key == "accelerator.bandwidth"
        or (key.startswith("accelerator.units.") and key.endswith(".bandwidth"))
        if isinstance(entry["value"], int | float)
    ]
    return sum(values)


def _groups(costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    groups = []
    for name, total in TOTALS.items():
        parts = {key: value for key, value in (costs.get(name) or {}).items() if value}
        whole = sum(parts.values())
        if not whole:
            continue
        metric = registry().get(name)
        shown = registry().show(total, costs[total]) if total and costs.get(total) else ""
        if name == "memory_bytes":
            shown = metric.show(whole)
        groups.append(
            {
                "title": metric.label,
                "shown": quantity.pretty(shown),
                "parts": [{"name": key, "share": value / whole} for key, value in parts.items()],
            }
        )
    return groups


def _intervals(costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What each result that has an interval is between nine times of ten: in words, and its ends
    over its value."""
    results = []
    for metric in registry().scalars:
        value = costs.get(metric.name)
        ends = [costs.get(f"{metric.name}_{end}") for end in ENDS]
        if value is None or None in ends:
            continue
        shown = [quantity.pretty(metric.show(x)) for x in (value, *ends)]
        low, high = (x / value if value else 1.0 for x in ends)
        words = f"{metric.label}: {shown[0]}, nine times of ten {shown[1]} to {shown[2]}"
        results.append(
            {"name": metric.label, "low": low, "high": high, "ends": shown[1:], "tip": words}
        )
    return results


def _command(pair: list[str], settings: Mapping[str, object], more: Sequence[str]) -> str:
    words = list(pair)
    for key, value in settings.items():
        words += ["--set", f"{key}={value}"]
    return " ".join(map(shlex.quote, [*words, *more]))


def _body(costs: Mapping[str, Any], title: str, words: str, draws: str) -> str:
    """draws : options of the intervals, which only `simulate` takes."""
    reason = "" if costs["feasible"] else f"<p><b>infeasible: {_text(costs['reason'])}</b></p>"
    notes = "".join(f"<p class=soft>{_text(note)}</p>" for note in costs["notes"])
    settings = [
        [
            key,
            quantity.pretty(setting_shown(key, entry["value"])),
            "default" if entry["default"] else "",
        ]
        for key, entry in costs["settings"].items()
    ]
    lines = [
        f"elector simulate {words} --operations{draws}",
        f"elector explain {words} --result energy_j",
    ]
    if not costs["settings"].get("workload.generate", {}).get("value"):  # token by token: too long
        lines.append(f"elector trace {words} --out trace.json")
    commands = "\n".join(lines)
    roofline = (
        "<h2>Roofline</h2><p class=soft>Products at what they reach; the larger, the longer. What "
        "touches no main memory stands at the right end. The line: peak, and bandwidth of main "
        'memory.</p><div class="panel tall" id="roofline"></div>'
        '<h2>Operations</h2><div class="bar"><button id="csv" type="button">Export CSV</button>'
        '</div><div class="wide"><table id="rows"><thead></thead><tbody></tbody></table></div>'
    )
    return "\n".join(
        [
            f"<h1>{_text(title)}</h1><p>{_text(workload_line(costs['settings']))}</p>{reason}{notes}",
            '<div class="split"><div><h2>Results</h2>',
            _results(costs),
            '</div><section><h2>Made of</h2><div id="bars"></div></section></div>',
            INTERVALS if _intervals(costs) else "",
            roofline if costs["operations"] else "",
            f"<h2>How to reproduce it</h2><pre>{_text(commands)}</pre>"
            f"<p class=soft>simulator {_text(str(costs['version']))}</p>",
            "<details><summary>Every setting</summary>"
            + page.table(["setting", "value", ""], settings)
            + "</details>",
        ]
    )


INTERVALS = (
    "<h2>Intervals</h2><p class=soft>What each result is between nine times of ten, over the value "
    "above: from the error on published cases that nothing was fitted on, and the spread of "
    'every row that it rests on.</p><div class="panel" id="intervals"></div>'
)


def _results(costs: Mapping[str, Any]) -> str:
    """The results as a table, with the ends of their intervals where there are any."""
    ends = {result["name"]: result["ends"] for result in _intervals(costs)}
    rows = [
        [metric.label, quantity.pretty(metric.show(costs[metric.name]))]
        + (ends.get(metric.label, ["", ""]) if ends else [])
        for metric in registry().scalars
        if costs.get(metric.name) is not None
    ]
    return page.table(["result", "value", *(["low", "high"] if ends else [])], rows)


def _text(value: str) -> str:
    return html.escape(value)
