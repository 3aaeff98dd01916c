"""The same layers and models through other tools and through ours, in one run.

    python benchmarks/beside_peers.py                 # or: make bench-peers
    python benchmarks/beside_peers.py --only ZigZag --python3.12 /path/to/python3.12
    python benchmarks/beside_peers.py --ours          # after a change of ours: theirs as they stand

Each tool is installed into an environment of its own below .venv-peers/, from what pip is set up
for, at the versions of benchmarks/peer_tools/NAME.txt (SCALE-Sim: benchmarks/peer-constraints.txt).
Their answers and ours are written to benchmarks/beside_peers.csv, with what is right where that is
known (benchmarks/peer_cases.py), and docs/validation.md shows them (`make docs`).

A tool that cannot be installed is skipped by name, with the reason, and so is a case that it
refuses: both stand in the table. Exit code 0: every tool answered, or could not for want of a
Python that this machine does not have; 1: a tool could not be installed, was stopped, or answered
nothing; 4: a count that has to be equal is not.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peer_cases import PeerCase, cases

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / "benchmarks" / "peer_tools"
TABLE = ROOT / "benchmarks" / "beside_peers.csv"
COLUMNS = [
    "peer",
    "version",
    "group",
    "case",
    "quantity",
    "unit",
    "theirs",
    "ours",
    "right",
    "right_from",
    "their_seconds",
    "our_seconds",
    "skipped",
]
#: Of a case that a tool did not come to.
STOPPED = "was stopped before it"
#: Seconds a tool may take for its cases, and its installation.
LONGEST = 1800


@dataclass(frozen=True)
class Peer:
    """A tool: its folder's name, script, pinned versions, and the oldest Python it runs with."""

    name: str
    folder: str
    script: str
    pins: Path
    oldest: tuple[int, int] = (3, 11)


PEERS = (
    Peer("SCALE-Sim", "scalesim", "scalesim_products.py", ROOT / "benchmarks/peer-constraints.txt"),
    Peer("ZigZag", "zigzag", "zigzag_products.py", TOOLS / "zigzag.txt"),
    Peer("AccelForge", "accelforge", "accelforge_products.py", TOOLS / "accelforge.txt", (3, 12)),
    Peer("GenZ", "genz", "genz_models.py", TOOLS / "genz.txt"),
    Peer(
        "AIConfigurator", "aiconfigurator", "aiconfigurator_models.py", TOOLS / "aiconfigurator.txt"
    ),
)


class NoPython(Exception):
    """No interpreter of this machine is new enough for a tool."""


class NotInstalled(Exception):
    """A tool's environment could not be made; the reason."""


@dataclass(frozen=True)
class Answers:
    """What a tool said. version : its own. values, seconds : by case; errors : of the others."""

    version: str
    values: dict[str, dict[str, float]]
    seconds: dict[str, float]
    errors: dict[str, str]


# ---- environments ----


def interpreter(oldest: tuple[int, int], given: str | None) -> str:
    """A Python from `oldest` on: the one given, ours, or one that the machine has."""
    names = [given] if given else [sys.executable]
    if not given:
        names += [f"python3.{minor}" for minor in range(oldest[1], 14)]
        pyenv = Path.home() / ".pyenv" / "versions"  # its shims refuse versions not chosen
        names += sorted(str(path) for path in pyenv.glob("3.1*/bin/python"))
    for name in names:
        test = f"import sys, venv, ensurepip; sys.exit(sys.version_info[:2] < {oldest})"
        if not shutil.which(name):
            continue
        if subprocess.run([name, "-c", test], capture_output=True, check=False).returncode == 0:
            return name
    lacks = "is none that starts" if given else "and none was found"
    raise NoPython(f"needs Python {oldest[0]}.{oldest[1]} or newer, {lacks}")


def reason(text: str) -> str:
    """The line of pip's output that says why, without addresses and paths."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")] or lines[-1:] or ["?"]
    return re.sub(r"\S*(?:://|/\w+/)\S*", "...", errors[0])[:200]


def environment(peer: Peer, folder: Path, given: str | None) -> Path:
    """The Python of a tool's environment, made where it is missing or its pins have changed."""
    place = folder / peer.folder
    python, stamp = place / "bin" / "python", place / ".installed"
    pins = peer.pins.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == pins:
        return python
    base = interpreter(peer.oldest, given)
    shutil.rmtree(place, ignore_errors=True)
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    for words in (
        [base, "-m", "venv", str(place)],
        [str(python), "-m", "pip", *quiet, "install", "-r", str(peer.pins)],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=LONGEST)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise NotInstalled("could not be installed: " + reason(done.stderr))
    stamp.write_text(pins, encoding="utf-8")
    return python


# ---- answers ----


def read_answers(text: str) -> Answers:
    """What a tool's script wrote (peer_tools/answering.py)."""
    document = json.loads(text)
    good = [a for a in document["answers"] if "error" not in a]
    return Answers(
        version=document["version"],
        values={a["id"]: a["values"] for a in good},
        seconds={a["id"]: a["seconds"] for a in good},
        errors={a["id"]: reason(a["error"]) for a in document["answers"] if "error" in a},
    )


def ask(peer: Peer, python: Path, asked: Sequence[PeerCase]) -> Answers:
    """The answers of a tool; a case that it was stopped before is among the errors."""
    with tempfile.TemporaryDirectory() as place:
        questions, answers = Path(place) / "cases.json", Path(place) / "answers.json"
        # One question that several numbers are taken from is asked once.
        once = {json.dumps(case.asked, sort_keys=True): case.asked for case in asked}
        rows = [{"id": key, **fields} for key, fields in once.items()]
        questions.write_text(json.dumps(rows), encoding="utf-8")
        words = [str(python), str(TOOLS / peer.script), str(questions), str(answers)]
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, check=False, timeout=LONGEST
            )
            stopped = reason(done.stderr) if done.returncode else ""
        except subprocess.TimeoutExpired:
            stopped = f"stopped after {LONGEST} s"
        if not answers.exists():
            raise NotInstalled("does not start: " + stopped)
        return read_answers(answers.read_text(encoding="utf-8"))


def compared(case: PeerCase, said: Answers) -> dict[str, object]:
    """A row of the table."""
    key = json.dumps(case.asked, sort_keys=True)
    row = _row(case, said.version)
    if key not in said.values:
        return row | {"skipped": said.errors.get(key, STOPPED)}
    theirs = said.values[key].get(case.theirs)
    if theirs is None:
        return row | {"skipped": f"gives no {case.theirs}"}
    ours, seconds = case.own()
    right = theirs if case.right_from == "convention" else case.right
    return row | {
        "theirs": theirs,
        "ours": ours,
        "right": "" if right is None else right,
        "right_from": case.right_from,
        "their_seconds": f"{said.seconds[key]:.3g}",
        "our_seconds": f"{seconds:.3g}",
    }


def _row(case: PeerCase, version: str = "") -> dict[str, object]:
    named = {"peer": case.peer, "version": version, "group": case.group, "case": case.name}
    return dict.fromkeys(COLUMNS, "") | named | {"quantity": case.quantity, "unit": case.unit}


def run(
    peer: Peer, folder: Path, given: str | None, asked: list[PeerCase]
) -> tuple[list[dict[str, object]], int]:
    """Rows of one tool, and its exit code."""
    try:
        python = environment(peer, folder, given if peer.oldest > (3, 11) else None)
        print(f"{peer.name}: {len(asked)} cases ...", flush=True)
        said = ask(peer, python, asked)
    except (NoPython, NotInstalled, subprocess.TimeoutExpired) as error:
        why = "took too long to install" if isinstance(error, subprocess.TimeoutExpired) else error
        print(f"{peer.name}: skipped: {why}", flush=True)
        skipped = [_row(case) | {"skipped": str(why)} for case in asked]
        return skipped, 0 if isinstance(error, NoPython) else 1
    rows = [compared(case, said) for case in asked]
    return rows, verdict(rows)


def verdict(rows: Sequence[dict[str, object]]) -> int:
    """0 where all is as it has to be, 1 where a tool fell silent, 4 where counts differ."""
    counts = [r for r in rows if r["right_from"] == "convention" and not r["skipped"]]
    if any(float(str(r["theirs"])) != float(str(r["ours"])) for r in counts):
        return 4
    silent = all(r["skipped"] for r in rows) or any(r["skipped"] == STOPPED for r in rows)
    return 1 if silent else 0


# ---- the table ----


def write(rows: Sequence[dict[str, object]], path: Path, head: str = "") -> None:
    """The table, with when and where it was measured above it (or `head`)."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(f"# {head or measured()}\n")
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measured() -> str:
    """Now, here, on this state."""
    words = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    today = datetime.date.today()
    state = f"{today.day} {today:%B %Y}, commit {done.stdout.strip() or 'unknown'}"
    return f"{state}, {processor()}, Python {platform.python_version()}"


def renewed(path: Path) -> tuple[str, list[dict[str, object]]]:
    """The table with our numbers and times anew, those of the others as they stand."""
    head, _, body = path.read_text(encoding="utf-8").partition("\n")
    asked = {(case.group, case.name): case for case in cases()}
    rows: list[dict[str, object]] = []
    for row in csv.DictReader(body.splitlines()):
        case = asked[row["group"], row["case"]]
        if row["skipped"]:
            rows.append({**row})
            continue
        ours, seconds = case.own()
        rows.append({**row, "ours": ours, "our_seconds": f"{seconds:.3g}"})
    theirs = head.removeprefix("# ").partition("; ours ")[0]
    return f"{theirs}; ours {measured()}", rows


def stored(path: Path) -> dict[str, list[dict[str, object]]]:
    """The rows of each tool in a table; none where there is no table."""
    by_peer: dict[str, list[dict[str, object]]] = {}
    if path.exists():
        body = path.read_text(encoding="utf-8").partition("\n")[2]
        for row in csv.DictReader(body.splitlines()):
            by_peer.setdefault(row["peer"], []).append({**row})
    return by_peer


def processor() -> str:
    """Name and number of this machine's processors."""
    import os

    place = Path("/proc/cpuinfo")
    text = place.read_text(encoding="utf-8") if place.exists() else ""
    named = re.search(r"model name\s*: (.+)", text)
    return f"{os.cpu_count()} cores of {named[1].strip() if named else platform.machine()}"


def main() -> None:
    """Ask every tool, write the table, say how it ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="this tool; the others as the table has them")
    parser.add_argument("--environments", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--python3.12", dest="newer", help="a Python for tools that need 3.12")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table (CSV)")
    parser.add_argument("--ours", action="store_true", help="our side anew, theirs from the table")
    given = parser.parse_args()
    if given.newer:
        try:
            interpreter((3, 12), given.newer)
        except (NoPython, OSError) as error:
            parser.error(f"--python3.12: {given.newer}: {error}")
    if given.ours:
        try:
            head, answers = renewed(given.out)
        except (OSError, KeyError, ValueError) as error:
            parser.error(f"--ours: {given.out} is no table of this script: {error}")
        write(answers, given.out, head)
        sys.exit(verdict(answers))
    chosen = [peer for peer in PEERS if given.only in ("", peer.name)]
    if not chosen:
        parser.error(f"no tool {given.only!r}: {', '.join(peer.name for peer in PEERS)}")
    by_peer = stored(given.out) if given.only else {}
    codes, rows = [], []
    for peer in chosen:
        asked = [case for case in cases() if case.peer == peer.name]
        by_peer[peer.name], code = run(peer, given.environments, given.newer, asked)
        codes.append(code)
        rows = [row for each in PEERS for row in by_peer.get(each.name, [])]
        write(rows, given.out)
    print(f"{len(rows)} rows in {given.out.name}; `make docs` shows them in docs/validation.md")
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
