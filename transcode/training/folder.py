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
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elector.base import paths, spelling
from elector.base.errors import InputError
from transcode.runs.files import Claim, read_json, write_json, write_text
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
_FRESH = "--fresh starts anew"
#: Largest metrics.csv that is read [byte].
_LARGEST = 1 << 28
#: What a result says at least.
RESULTS: dict[str, type | tuple[type, ...]] = {
    "model": str,
    "task": str,
    "metric": str,
    "score": (int, float),
    "further": dict,
    "baselines": dict,
    "tau_i": (int, float),
    "tau_t": (int, float),
    "density": dict,
    "saved_bytes": (int, float),
    "saved_bytes_uncompressed": (int, float),
    "switch": (dict, type(None)),
    "parameters": (int, float),
    "trainable_share": (int, float),
    "seconds": (int, float),
    "steps": int,
    "files": list,
}


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

    installed = versions()
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    entries = spelling.all_spelled({**settings.entries(), "data_sha256": data_sha256})
    return {
        "kind": "training",
        "command": command,
        "settings": entries,
        "settings_sha256": sha256(entries),
        "simulator": simulator(),
        "versions": installed,
    }


def begin(claim: Claim, new: Mapping[str, Any], fresh: bool) -> None:
    """Makes the folder, or goes on with the same run; refuses another with what differs.

    new : what the manifest would say. fresh : whether what is there is replaced.
    """
    folder = claim.folder
    old = _read(folder / MANIFEST, fresh) if paths.exists(folder / MANIFEST) else None
    there = [name for name in (*FILES, "designs") if paths.exists(folder / name)]
    if old is None and there and not fresh:
        raise InputError(
            f"holds {there[0]}, but no manifest",
            file=folder,
            hint="--fresh replaces the files of a training run; or choose another --out",
        )
    if old is not None and not fresh:
        _require_same(folder, old, new)
        claim.begin()
        return
    held = claim.held
    claim.begin()
    if not held and paths.exists(folder / MANIFEST):
        raise InputError("another run began here meanwhile", file=folder, hint="start it again")
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / MANIFEST, new)


def _require_same(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuses to go on with a run of other settings, and says what differs."""
    if old.get("settings_sha256") == new["settings_sha256"]:
        return
    lines = list(differences("settings", old.get("settings"), new["settings"]))
    shown = "\n  ".join(lines[:_SHOWN] + (["..."] if len(lines) > _SHOWN else []))
    raise InputError(
        f"holds another run\n  {shown}",
        file=folder,
        hint="--fresh replaces it; or choose another --out",
    )


def _read(path: Path, fresh: bool) -> dict[str, Any] | None:
    """The manifest; None for a damaged one that is to go. A search's is not ours to clear."""
    try:
        content = read_json(path, "the manifest of a training run", _FRESH)
    except InputError:
        if fresh and not paths.exists(path.with_name("designs")):
            return None
        raise
    if content.get("kind") != "training":
        raise InputError(
            "is not the manifest of a training run", file=path, hint="choose another --out"
        )
    return content


def result(folder: Path) -> dict[str, Any] | None:
    """result.json of a run that is done, else None."""
    path = folder / RESULT
    if not paths.exists(path):
        return None
    content = read_json(path, "a training run's result", _FRESH)
    for key, kind in RESULTS.items():
        if not isinstance(content.get(key), kind):
            raise InputError("is damaged", file=path, field=key, hint=_FRESH)
    return content


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
    """The complete rows so far. Raises InputError for rows that are no numbers."""
    path = folder / METRICS
    if not paths.exists(path):
        return []
    rows = csv.reader(io.StringIO(paths.read_text(path, _LARGEST), newline=""))
    complete = []
    try:
        header = next(rows, [])
        for cells in rows:
            row = dict(zip(header, cells, strict=False))
            if row.get("seconds"):  # a row that was cut has no last cell
                _numbers(row)
                complete.append(row)
    except (csv.Error, ValueError, KeyError):
        raise InputError(
            f"line {rows.line_num}: is no row of numbers", file=path, hint=_FRESH
        ) from None
    return complete


def _numbers(row: Mapping[str, str]) -> None:
    """Raises ValueError or KeyError for a row that no run has written."""
    int(row["step"])
    for name in COLUMNS:
        if name not in ("step", "phase") and row[name]:
            float(row[name])


def _line(row: Mapping[str, object]) -> str:
    return ",".join(_text(row[name]) for name in COLUMNS)


def _text(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def table(columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as CSV.

    columns : their names. rows : column -> cell.
    """
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_text(row.get(name)) for name in columns] for row in rows])
    return stream.getvalue()
