"""A scripted client of `transcode serve --mcp`: the chip with the least energy x delay for gpt2.

    python benchmarks/agent.py

The chips are those of spaces/gpt2.yaml, the model is gpt2 itself. The client knows the lists of the
space and calls `simulate` and `explain` only, one design a call, at most CALLS of them. Printed
beside the least of all chips, and what 50 designs of `random` and of the default sampler find
(median of ten seeds).
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml
from mcp import Client, StdioServerParameters

import elector
import transcode
from transcode.space import load

ROOT = Path(__file__).resolve().parent.parent
CALLS = 50
SEEDS = range(10)
WORKLOAD = {"workload.sequence_length": 512, "workload.generate": 128}
#: Part of the energy -> the setting that it is most about, tried first.
ABOUT = {
    "main memory": "bandwidth",
    "interface": "bandwidth",
    "sram": "sram",
    "leakage": "arrays",
    "mac": "dataflow",
}
Design = dict[str, Any]


def alternatives() -> list[tuple[str, dict[str, list[Any]]]]:
    """Base of an accelerator -> the lists of its settings, as spaces/gpt2.yaml has them."""
    choices: list[tuple[str, dict[str, list[Any]]]] = []
    space = load(yaml.safe_load((ROOT / "spaces" / "gpt2.yaml").read_text(encoding="utf-8")))
    bases = next(p for p in space.parameters if p.name == "accelerator").values
    groups = space.sections[1].groups
    for base, group in zip(bases, groups, strict=True):
        own = [p for p in space.parameters if p.group == group and p.name.startswith("accel")]
        lists = {p.name: list(p.values) for p in own if p.name != "accelerator"}
        choices.append((str(base), lists if "tpu" not in str(base) else {}))
    return choices


def designs() -> Iterator[Design]:
    """Every chip of the space."""
    for base, lists in alternatives():
        for values in itertools.product(*lists.values()):
            yield {"accelerator": base, **dict(zip(lists, values, strict=True))}


def cost(result: Any) -> float:
    """Energy x delay [J s]; infinite where a chip cannot run it or breaks a constraint."""
    slow = (result.get("time_to_first_token_s") or 0.0) > 2.0
    if not result["feasible"] or slow or result["area_mm2"] > 858:
        return float("inf")
    return float(result["energy_j"] * result["latency_s"])


class Script:
    """The client: counts its calls and remembers what it was told."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.calls = 0
        self.known: dict[tuple[Any, ...], float] = {}

    async def call(self, tool: str, **arguments: Any) -> Any:
        self.calls += 1
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer
        return answer.structured_content

    async def cost(self, base: str, settings: Design) -> float:
        key = (base, *sorted(settings.items()))
        if key not in self.known:
            if self.calls >= CALLS:
                return float("inf")
            result = await self.call(
                "simulate", model="gpt2", accelerator=base, settings=WORKLOAD | settings
            )
            self.known[key] = cost(result)
        return self.known[key]

    async def best(self) -> tuple[float, str, Design]:
        """The chips that exist, the middle of each list, then downhill from the better one."""
        starts = []
        for base, lists in alternatives():
            middle = {name: values[len(values) // 2] for name, values in lists.items()}
            starts.append((await self.cost(base, middle), base, middle, lists))
        best = min((s for s in starts if s[3]), key=lambda s: s[0])
        value, base, at, lists = best
        told = await self.call(
            "explain",
            model="gpt2",
            accelerator=base,
            result="energy_j",
            settings=WORKLOAD | at,
        )
        parts: dict[str, float] = {}
        for term in told["terms"]:
            parts[term["part"]] = parts.get(term["part"], 0.0) + term["value"]
        order = [ABOUT[p] for p in sorted(parts, key=lambda p: -parts[p]) if p in ABOUT]
        names = sorted(lists, key=lambda n: next((i for i, w in enumerate(order) if w in n), 99))
        value, at = await self.downhill(base, at, lists, names)
        # A dataflow decides which shape is good: downhill again from the best one under each other.
        for flow in lists["accelerator.dataflow"]:
            if flow != at["accelerator.dataflow"]:
                other = at | {"accelerator.dataflow": flow}
                again = [name for name in names if name != "accelerator.dataflow"]
                reached, place = await self.downhill(base, other, lists, again)
                value, at = (reached, place) if reached < value else (value, at)
        chips = min(starts, key=lambda s: s[0])
        return (value, base, at) if value <= chips[0] else (chips[0], chips[1], chips[2])

    async def downhill(
        self, base: str, at: Design, lists: dict[str, list[Any]], names: list[str]
    ) -> tuple[float, Design]:
        """Steps along one list after another, as long as one of them gains."""
        value, moved = await self.cost(base, at), True
        while moved and self.calls < CALLS:
            moved = False
            for name in names:
                for step in (1, -1):
                    while self.calls < CALLS:
                        place = lists[name].index(at[name]) + step
                        if not 0 <= place < len(lists[name]):
                            break
                        tried = at | {name: lists[name][place]}
                        reached = await self.cost(base, tried)
                        if reached >= value:
                            break
                        value, at, moved = reached, tried, True
        return value, at


async def scripted() -> tuple[float, int]:
    """Energy x delay that the client finds, and its calls."""
    words = ["-m", "transcode", "serve", "--mcp"]
    parameters = StdioServerParameters(command=sys.executable, args=words, cwd=str(ROOT))
    async with Client(parameters) as client:
        script = Script(client)
        value, _, _ = await script.best()
        return value, script.calls


def least() -> float:
    """The least energy x delay of all chips."""
    rows = [{"model": "gpt2", **WORKLOAD, **design} for design in designs()]
    table = elector.evaluate(rows)
    return min(cost(row) for row in table.to_dict("records"))


def searched(sampler: str, folder: Path) -> float:
    """What 50 designs of a sampler find, as the median of the seeds."""
    data = yaml.safe_load((ROOT / "spaces" / "gpt2.yaml").read_text(encoding="utf-8"))
    data |= {
        "model": "gpt2",
        "objectives": {"edp": "min"},
        "define": {"edp": "energy_j * latency_s"},
    }
    data["workload"].pop("task", None)
    lowest = []
    for seed in SEEDS:
        out = folder / f"{sampler}-{seed}"
        result = transcode.search(data, sampler=sampler, budget=CALLS, seed=seed, out=out)
        values = np.array(transcode.front(out)["edp"]) if len(result.front) else np.array([np.inf])
        lowest.append(float(values.min()))
    return median(lowest)


def main() -> None:
    """Print all of it as shares of the least."""
    best = least()
    value, calls = asyncio.run(scripted())
    print(f"least energy x delay of {sum(1 for _ in designs()):,} chips: {best:.6g} J s")
    print(f"scripted client, {calls} calls: {value / best:.4f} of it")
    with tempfile.TemporaryDirectory() as folder:
        for sampler in ("random", "auto"):
            print(f"{sampler}, {CALLS} designs: {searched(sampler, Path(folder)) / best:.4f} of it")


if __name__ == "__main__":
    main()
