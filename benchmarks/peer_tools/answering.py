"""What every peer's script shares: cases in as JSON, answers out as JSON.

A script of this folder runs in the environment of its peer, which has nothing of ours:

    PYTHON benchmarks/peer_tools/zigzag_products.py cases.json answers.json

cases.json is a list of objects with an `id`; answers.json holds, for each in turn, `id`, `values`
(name -> number) and `seconds`, or `id` and `error`: why the peer has no answer. It is written anew
after every case, so that a peer that is stopped leaves what it has.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Case = dict[str, Any]
Values = dict[str, float]


def answer(package: str, solve: Callable[[Case], Values]) -> None:
    """Read the cases, solve each in a folder of its own, write the answers.

    package : distribution whose version is reported. solve : the numbers of one case; may give
        `seconds` itself where the peer did work that another case has paid for.
    """
    cases, answers = (Path(word).resolve() for word in sys.argv[1:3])
    done: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for case in json.loads(cases.read_text(encoding="utf-8")):
            done.append({"id": case["id"]} | _one(case, solve))
            written = {"version": version(package), "answers": done}
            answers.write_text(json.dumps(written), encoding="utf-8")
        os.chdir(cases.parent)  # a folder that is stood in cannot be removed everywhere


def _one(case: Case, solve: Callable[[Case], Values]) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        values = solve(case)
    except Exception as error:  # whatever a peer raises is its answer
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    seconds = values.pop("seconds", time.perf_counter() - start)
    return {"values": values, "seconds": seconds}
