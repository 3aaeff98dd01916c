"""The folder of a training run: what belongs to it, and when it may be gone on with.

manifest.json   command, versions, settings and their sha256
metrics.csv     a row for every look at the validation score, appended as it goes
checkpoint.pt   the state to go on from
result.json     what came out; with it sparsity.csv, accuracy.csv, model.yaml, loss.png
plan.yaml       the run for `elector run`, if full training ended
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elector.base.errors import InputError
from transcode.runs.files import write_json, write_text
from transcode.runs.manifest import differences, simulator, versions
from transcode.training.settings import Settings

MANIFEST = "manifest.json"
METRICS = "metrics.csv"
RESULT = "result.json"
FILES = (
    MANIFEST,
    METRICS,
    "checkpoint.pt",
    RESULT,
    "sparsity.csv",
    "accuracy.csv",
    "model.yaml",
    "loss.png",
    "plan.yaml",
)
COLUMNS = (
    "step",
    "phase",
    "loss",
    "low_loss",
    "score",
    "tau_i",
    "tau_t",
    "density_activation",
    "density_gradient",
    "saved_bytes",
    "seconds",
)
_LIBRARIES = ("torch", "scipy", "scikit-learn", "statsmodels")
_SHOWN = 8


def default(settings: Settings) -> Path:
    """Where a run lies if nothing is said."""
    names = (Path(settings.model).stem, Path(settings.task).stem)
    return Path("results") / f"train-{names[0]}-{names[1]}"


def sha256(entries: Mapping[str, Any]) -> str:
    """Of the settings, in an order of their own."""
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()


def manifest(settings: Settings, data_sha256: str, command: str) -> dict[str, Any]:
    """What a run is. data_sha256 : of the task's data."""
    from importlib import metadata

    found = versions()
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    entries = {**settings.entries(), "data_sha256": data_sha256}
    return {
        "kind": "training",
        "command": command,
        "settings": entries,
        "settings_sha256": sha256(entries),
        "simulator": simulator(),
        "versions": found,
    }


def opened(folder: Path, new: Mapping[str, Any], fresh: bool) -> None:
    """Makes the folder, or goes on with the same run; refuses another with what differs."""
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file, not a run folder", file=folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / MANIFEST
    if fresh:
        clear(folder)
    if not path.exists():
        there = [name for name in (*FILES, "designs") if (folder / name).exists()]
        if there:
            raise InputError(
                f"holds {there[0]}, but no manifest",
                file=folder,
                hint="--fresh replaces the files of a training run; or choose another --out",
            )
        write_json(path, new)
        return
    old = _read(path)
    if old.get("settings_sha256") == new["settings_sha256"]:
        return
    lines = list(differences("settings", old.get("settings"), new["settings"]))
    shown = "\n  ".join(lines[:_SHOWN] + (["..."] if len(lines) > _SHOWN else []))
    raise InputError(
        f"holds another run\n  {shown}",
        file=folder,
        hint="--fresh replaces it; or choose another --out",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read: {error}", file=path, hint="--fresh starts anew"
        ) from None
    if not isinstance(found, dict) or found.get("kind") != "training":
        raise InputError(
            "is not the manifest of a training run", file=path, hint="choose another --out"
        )
    return found


def clear(folder: Path) -> None:
    """Removes the files of an earlier training run, and nothing else."""
    path = folder / MANIFEST
    if path.exists():
        _read(path)  # the run folder of a search is not ours to clear
    for name in FILES:
        (folder / name).unlink(missing_ok=True)


def result(folder: Path) -> dict[str, Any] | None:
    """result.json of a run that is done, else None."""
    path = folder / RESULT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def start_metrics(folder: Path, step: int) -> None:
    """Keeps the rows up to `step`: what a killed run wrote after its checkpoint comes again."""
    path = folder / METRICS
    rows = [row for row in read_metrics(folder) if int(row["step"]) <= step]
    write_text(path, "\n".join([",".join(COLUMNS), *(_line(row) for row in rows)]) + "\n")


def add_metrics(folder: Path, row: Mapping[str, object]) -> None:
    """Appends a row."""
    with (folder / METRICS).open("a", encoding="utf-8", newline="") as stream:
        stream.write(_line(row) + "\n")


def read_metrics(folder: Path) -> list[dict[str, str]]:
    """The complete rows so far."""
    path = folder / METRICS
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("seconds") not in (None, "")]


def _line(row: Mapping[str, object]) -> str:
    return ",".join(_text(row[name]) for name in COLUMNS)


def _text(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV."""
    import io

    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_text(row.get(name)) for name in columns] for row in rows])
    return stream.getvalue()
