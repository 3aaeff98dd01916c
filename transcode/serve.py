"""Both programs as tools of the Model Context Protocol, by its official SDK, over standard streams.

Tools answer in plain data, with the errors of the commands: file, field, value, what is allowed.
They read, and write nothing, but for the runs of `search`, which lie below the folder that the
server was given; without one there is no such tool.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from elector.base.errors import ElectorError, InputError
from elector.base.output import made_folder
from transcode.extras import installing

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

INSTRUCTIONS = (
    "elector says what one transformer costs on one accelerator (latency, energy, area) and which "
    "constants each figure rests on; transcode searches models x accelerators. Settings are "
    "dotted: model.layers, accelerator.rows, workload.batch; a number may carry its unit ('4 MB'). "
    "Begin with list_names and show."
)
#: Most rows that a tool answers with.
MOST = 200
#: Most designs that one call may search, so that it answers in a minute or so.
BUDGET = 100_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LISTS = ("models", "accelerators", "results", "settings", "spaces")
Settings = dict[str, str | int | float | bool]
Record = dict[str, Any]


def server(folder: Path | None = None) -> MCPServer:
    """The server with its tools. folder : where runs may be written and are read."""
    try:
        from mcp.server.mcpserver import MCPServer
    except ImportError:
        raise InputError("needs the MCP SDK", field="--mcp", hint=installing("mcp")) from None
    mcp = MCPServer("transcode", instructions=INSTRUCTIONS)
    tools: list[Callable[..., Record]] = [list_names, show, simulate, sweep, explain, validate]
    if folder is not None:
        runs = Runs(folder)
        tools += [runs.search, runs.front, runs.design]
    for tool in tools:
        mcp.add_tool(_told(tool))
    return mcp


def _told(tool: Callable[..., Record]) -> Callable[..., Record]:
    """The tool with errors of ours as messages for the client, where others are a crash."""
    from mcp.server.mcpserver.exceptions import ToolError

    @functools.wraps(tool)
    def run(*words: Any, **named: Any) -> Record:
        try:
            return tool(*words, **named)
        except ElectorError as error:
            raise ToolError(str(error)) from None

    return run


def list_names(what: str) -> Record:
    """Names there are. what : models, accelerators, results, settings or spaces."""
    from elector.studies import listing
    from transcode.space import shipped

    if what not in _LISTS:
        raise InputError("is no list", field="what", value=what, allowed=_LISTS)
    if what == "spaces":
        return {"spaces": list(shipped())}
    records = getattr(listing, what)()
    return {what: [plain(dict(record)) for record in records]}


def show(name: str) -> Record:
    """Every setting of a shipped model or accelerator, or of a file.

    name : of a preset, or a file.
    """
    from elector.studies.showing import show as shown

    return plain(dict(shown(name)))


def simulate(model: str, accelerator: str, settings: Settings | None = None) -> Record:
    """Latency, energy, area and what they are made of, for one model on one accelerator.

    model, accelerator : names or files. settings : dotted key to value, such as
    {"workload.batch": 8, "accelerator.sram": "4 MB"}. An infeasible design has a reason.
    """
    from elector.studies.simulation import simulate as simulated

    result = dict(simulated(model, accelerator, settings=settings or {}))
    resolved: Record = result["settings"]  # type: ignore[assignment]
    given = {key: entry["value"] for key, entry in resolved.items() if not entry["default"]}
    answer: Record = plain(result | {"settings": given})
    return answer


def sweep(rows: list[Settings]) -> Record:
    """Costs of many designs at once: rows with model, accelerator and dotted settings.

    A row that cannot be read has an `error`; at most 200 rows a call.
    """
    from elector.studies.frames import sweep as swept

    if len(rows) > MOST:
        raise InputError(f"has {len(rows)} rows, {MOST} are the most", field="rows")
    return {"rows": plain(swept(rows).to_dict("records"))}


def explain(
    model: str, accelerator: str, result: str = "energy_j", settings: Settings | None = None
) -> Record:
    """Where a result comes from: formula, terms with counts and prices, rows of the tables.

    result : any number that simulate gives: energy_j, area_mm2, latency_s, tokens_per_s, ...

    settings : dotted name -> value; None for none.
    """
    from elector.studies.simulation import explain as explained

    return plain(dict(explained(model, accelerator, result, settings=settings or {})))


def validate(only: str = "") -> Record:
    """Published measurements beside what the simulator says; `only` some of them by name."""
    from elector.studies.frames import validate as validated

    records = plain(validated(only=only).to_dict("records"))
    return {"cases": len(records), "first": records[:MOST]}


class Runs:
    """Tools on the runs below one folder, by the names that they were given there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()

    def place(self, name: str) -> Path:
        """The folder of a run; only names, no paths, so that nothing else is reached.

        name : of the run.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                "is no name of a run", field="run", value=name, hint="letters, digits, . _ and -"
            )
        return self.folder / name

    def search(
        self, space: str | dict[str, Any], run: str, budget: int = 2000, seed: int = 0
    ) -> Record:
        """Search a space and keep the run under a name; returns the front.

        space : a shipped one by name, or its keys (model, accelerator, objectives, ...).
        run : what to call it. budget : designs, at most 100,000. The same call goes on.
        """
        from transcode.search import search as searched

        if not 1 <= budget <= BUDGET:
            raise InputError(f"must be 1 to {BUDGET:,}", field="budget", value=budget)
        place = self.place(run)
        searched(space, out=place, budget=budget, seed=seed, jobs=1)
        return self.front(run)

    def front(self, run: str, where: list[str] | None = None, objectives: str = "") -> Record:
        """The front of a run, or another one of its designs.

        where : conditions such as "area_mm2 <= 100". objectives : such as
        "latency_s,area_mm2:min". At most 200 designs, from the best of the first objective on.
        """
        from transcode.runs.loaded import load_run

        loaded = load_run(self.place(run))
        asked = bool(where or objectives)
        front = loaded.select(where or (), objectives or None) if asked else loaded.front
        return {"size": len(front), "designs": plain(front.head(MOST).to_dict("records"))}

    def design(self, run: str, id: int) -> Record:
        """One recorded design of a run, and the command that simulates it again.

        id : of the design.
        """
        from transcode import runs

        design = runs.query.settled(self.place(run), lambda r: runs.design.design(r, id))
        commands = {workload: design.command(workload) for workload in design.workloads}
        return plain(design.as_row() | {"commands": commands})


def plain(value: Any) -> Any:
    """The value in JSON types; null for NaN and infinity."""
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | bool) or value is None else str(value)


def serve(folder: Path | None) -> None:
    """Run the server on standard input and output until its client leaves."""
    if folder is None:
        server(folder).run("stdio")
        return
    with made_folder(folder, "--folder"):
        served = server(folder)
    served.run("stdio")
