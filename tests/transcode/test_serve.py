"""`transcode serve --mcp`: tools that answer as the commands do, over standard streams."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import elector
import transcode
from transcode.cli import main

pytestmark = pytest.mark.extras("mcp")
ROOT = Path(__file__).resolve().parents[2]
READING = {"list_names", "show", "simulate", "sweep", "explain", "validate"}


def asked(ask: Callable[[Any], Awaitable[Any]], *words: str) -> Any:
    """What a client learns from a server of its own."""
    from mcp import Client, StdioServerParameters

    async def run() -> Any:
        arguments = ["-m", "transcode", "serve", "--mcp", *words]
        parameters = StdioServerParameters(command=sys.executable, args=arguments, cwd=str(ROOT))
        async with Client(parameters) as client:
            return await ask(client)

    return asyncio.run(run())


async def answer(client: Any, tool: str, **arguments: Any) -> Any:
    reply = await client.call_tool(tool, arguments)
    text = " ".join(getattr(part, "text", "") for part in reply.content)
    assert not reply.is_error, text
    return reply.structured_content


async def refusal(client: Any, tool: str, **arguments: Any) -> str:
    reply = await client.call_tool(tool, arguments)
    assert reply.is_error
    return " ".join(getattr(part, "text", "") for part in reply.content)


def test_without_a_folder_there_is_no_tool_that_writes() -> None:
    async def ask(client: Any) -> Any:
        return await client.list_tools()

    tools = {tool.name: tool for tool in asked(ask).tools}
    assert set(tools) == READING
    for tool in tools.values():
        assert tool.description and tool.input_schema["type"] == "object"
    assert set(tools["simulate"].input_schema["required"]) == {"model", "accelerator"}


def test_tools_answer_as_the_functions_do() -> None:
    settings = {"workload.batch": 4}

    async def ask(client: Any) -> Any:
        pair = {"model": "bert-tiny", "accelerator": "tpu-v4i"}
        rows = [pair, pair | {"workload.batch": 4}, pair | {"workload.batch": "many"}]
        return (
            await answer(client, "simulate", **pair, settings=settings),
            await answer(client, "explain", **pair, result="area_mm2"),
            await answer(client, "sweep", rows=rows),
            await answer(client, "show", name="tpu-v4i"),
            await answer(client, "list_names", what="spaces"),
            await refusal(client, "simulate", model="bert-tiny", accelerator="tpu-v44"),
            await refusal(client, "list_names", what="modells"),
        )

    simulated, explained, swept, shown, spaces, unknown, listless = asked(ask)
    single = elector.simulate("bert-tiny", "tpu-v4i", settings=settings)
    for name in ("latency_s", "energy_j", "area_mm2", "energy_by_part_j", "provenance"):
        assert simulated[name] == single[name]
    assert simulated["settings"] == {"workload.batch": 4}
    assert explained["value"] == single["area_mm2"] and explained["terms"]
    first, second, third = swept["rows"]
    assert second["latency_s"] == single["latency_s"] != first["latency_s"]
    assert third["latency_s"] is None and "many" in third["error"]
    assert shown["settings"]["rows"] == 128
    assert "bert" in spaces["spaces"]
    assert "did you mean tpu-v4i" in unknown or "did you mean tpu-v" in unknown
    assert "did you mean models" in listless


def test_searches_lie_below_the_folder(tmp_path: Path) -> None:
    space = {
        "model": "bert-tiny",
        "accelerator": {"base": "systolic", "rows": [16, 32, 64], "cols": [16, 32]},
        "objectives": {"latency_s": "min", "area_mm2": "min"},
    }

    async def ask(client: Any) -> Any:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        outcome = await answer(client, "search", space=space, run="mine", budget=100)
        best = outcome["designs"][0]
        return (
            tools,
            outcome,
            await answer(client, "front", run="mine", where=["accelerator.cols == 16"]),
            await answer(client, "design", run="mine", id=best["id"]),
            [
                await refusal(client, "search", space="smoke", run=name)
                for name in ("../out", "/tmp/out", "a/b", "")
            ],
            await refusal(client, "search", space="smoke", run="big", budget=10**9),
            await refusal(client, "front", run="absent"),
        )

    folder = tmp_path / "agent"
    tools, searched, narrow, design, escapes, large, absent = asked(ask, "--folder", str(folder))
    assert tools == READING | {"search", "front", "design"}
    front = transcode.front(folder / "mine")
    assert searched["size"] == len(front)
    assert [d["latency_s"] for d in searched["designs"]] == list(front["latency_s"])
    assert {d["accelerator.cols"] for d in narrow["designs"]} == {16}
    assert design["commands"][""].startswith("elector simulate bert-tiny systolic")
    assert all("no name of a run" in text for text in escapes)
    assert "must be 1 to 100,000" in large and "absent" in absent
    assert [path.name for path in tmp_path.iterdir()] == ["agent"]
    assert [path.name for path in folder.iterdir()] == ["mine"]


@pytest.mark.slow
def test_a_scripted_client_finds_the_chip() -> None:
    """At most 50 calls of simulate and explain come within 2 % of the least energy x delay."""
    spec = importlib.util.spec_from_file_location("agent", ROOT / "benchmarks" / "agent.py")
    assert spec and spec.loader
    agent = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(agent)
    value, calls = asyncio.run(agent.scripted())
    assert calls <= 50
    assert value <= 1.02 * agent.least()


def test_the_protocol_has_to_be_named() -> None:
    result = CliRunner().invoke(main, ["serve"])
    assert result.exit_code == 2 and "--mcp" in result.stderr


def test_a_missing_sdk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp.server.mcpserver", None)
    result = CliRunner().invoke(main, ["serve", "--mcp"])
    assert result.exit_code == 2 and "pip install -e '.[mcp]'" in result.stderr
