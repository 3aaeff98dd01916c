"""manifest.json: what a run is, so that it can be continued, repeated, or refused."""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, TypeGuard

import elector
from elector.base import arguments, paths
from elector.base.errors import EvaluationError, InputError
from transcode.runs import parts
from transcode.runs.files import LOCK, MANIFEST, read_json, write_json
from transcode.space import Space, digest, restore

NAME = MANIFEST
#: Designs that a run was told to begin with.
WARM = ".warm-start.npy"
#: What belongs to a run; nothing else in its folder is ever touched.
_FILES = ("front.csv", "front.json", "front.png", "study.log", NAME)
#: Models trained inside a search, and their scores.
PROXIES = "proxies"
_LIBRARIES = ("numpy", "pandas", "pyarrow", "optuna", "moocore")
_SHOWN = 8
_SHA = re.compile("[0-9a-f]{64}")
#: Key of the number of designs there were when it was written.
DESIGNS = "designs"
_FRESH = "--fresh starts anew"
#: What is said of a run that is too young to be asked.
NOTHING = "no batch has been committed yet"
#: What a manifest must say, whoever wrote it.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "space": dict,
    "space_sha256": str,
    "simulator": dict,
    "seed": int,
    "sampler": dict,
    "batch": int,
}
#: What it may say, some of it not from the start.
_LATER: dict[str, type | tuple[type, ...]] = {
    "status": str,
    DESIGNS: int,
    "feasible": int,
    "front": int,
    "checkpoint": int,
    "hypervolume": (int, float),
    "reference_point": dict,
    "accuracy": dict,
    "budget": int,
    "islands": int,
    "storage": str,
    "warm_start": dict,
    "versions": dict,
    "command": str,
}
#: Counts of which there is one at least.
_SOME = ("batch", "islands", "budget")
#: Most islands that a run may have: each keeps a table of its own, and has to have a share.
MOST_ISLANDS = 1024
_MOST = {"islands": MOST_ISLANDS}
#: What of it may be null: there was none of it.
_OPTIONAL = ("hypervolume", "reference_point", "accuracy", "budget", "storage", "warm_start")


@cache
def simulator() -> dict[str, str]:
    """Version of the simulator, and a sha256 over its code and its tables."""
    root = Path(elector.__file__).parent
    total = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.suffix in (".py", ".csv", ".yaml"):
            total.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return {"version": elector.__version__, "sha256": total.hexdigest()}


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries a result may depend on."""
    installed = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def read(
    folder: Path, hint: str = "--fresh replaces them; or choose another --out"
) -> dict[str, Any] | None:
    """The manifest of a run folder; None where there is no run.

    Raises InputError for files of a run without a manifest, and for what is no manifest.

    hint : what to do where the manifest is missing.
    """
    path = folder / NAME
    if paths.exists(folder) and not paths.is_folder(folder):
        raise InputError("is a file, not a run folder", file=folder)
    if not paths.exists(path):
        if any(paths.exists(folder / name) for name in _FILES) or has_parts(folder):
            raise InputError(
                "holds files of a run but no manifest",
                file=folder,
                hint=hint,
            )
        return None
    manifest = read_json(path, "a run's manifest", _FRESH)
    _require(manifest, _KEYS, path, "")
    _require(manifest["sampler"], dict.fromkeys(("asked", "used", "why"), str), path, "sampler.")
    said = {k: t for k, t in _LATER.items() if k in manifest}
    none = [k for k in _OPTIONAL if manifest.get(k) is None]
    _require(manifest, {k: t for k, t in said.items() if k not in none}, path, "")
    for name, kind in _INNER.items():
        inner = manifest.get(name) or {}
        _require(inner, dict.fromkeys(inner, kind), path, f"{name}.")
    _require_reference(manifest, path)
    if manifest.get("accuracy"):
        _require(manifest["accuracy"], {"text": str}, path, "accuracy.")
    if manifest.get("warm_start"):
        begun = {"file": str, "rows": int, "designs": int}
        _require(manifest["warm_start"], begun, path, "warm_start.")
    return manifest


Kinds = Mapping[str, type | tuple[type, ...]]
#: Of mappings whose values are all of one kind, that kind.
_INNER: Kinds = {"simulator": str, "versions": str, "reference_point": (int, float)}


def _require_reference(manifest: Mapping[str, Any], path: Path) -> None:
    """Refuses a reference point that lacks an objective of the space, or has another's value."""
    objectives, point = manifest["space"].get("objectives"), manifest.get("reference_point")
    if not point or not isinstance(objectives, dict):
        return
    for name in (*objectives, *point):
        if name not in point or name not in objectives:
            problem = "is no objective of the run" if name in point else "is missing"
            at = f"reference_point.{name}"
            raise InputError(problem, file=path, field=at, allowed=objectives, hint=_FRESH)


def _require(manifest: Mapping[str, Any], keys: Kinds, path: Path, at: str) -> None:
    """Refuses a mapping that lacks a key, or has another kind of value there.

    A whole number is a count or a seed, so at least 0, of batches and the like 1, of islands not
    too many; any number is finite.
    """
    for key, kind in keys.items():
        value = manifest.get(key)
        good = isinstance(value, kind) and not isinstance(value, bool)
        if good and isinstance(value, float):
            good = math.isfinite(value)
        if good and kind is int:
            good = (key in _SOME) <= int(str(value)) <= _MOST.get(key, math.inf)
        if not good:
            raise InputError(
                "is not the manifest of a run", file=path, field=f"{at}{key}", hint=_FRESH
            )


def space_of(folder: Path, manifest: Mapping[str, Any]) -> Space:
    """The space of a manifest. Raises InputError where it is not what the run was made with.

    manifest : the manifest.
    """
    damaged = InputError(
        "is damaged: it is not what its sha256 says",
        file=folder / NAME,
        field="space",
        hint=_FRESH,
    )
    if digest(manifest["space"]) != manifest["space_sha256"] or not _is_space(manifest["space"]):
        raise damaged
    try:
        return restore(manifest["space"])
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, InputError):
        raise damaged from None  # of somebody's own making, with the right sum


def _is_space(described: Mapping[str, Any]) -> bool:
    """Whether a mapping has what every description of a space has, each of its kind."""
    kinds = {"name": str, "parameters": list, "workloads": dict, "objectives": dict}
    texts = [described.get(name) for name in ("where", "constraints", "record")]
    if not all(isinstance(described.get(name), kind) for name, kind in kinds.items()):
        return False
    parameters, objectives = described["parameters"], described["objectives"]
    return (
        all(isinstance(t, list) and all(isinstance(w, str) for w in t) for t in texts)
        and all(isinstance(w, dict) for w in described["workloads"].values())
        and bool(objectives)
        and all(isinstance(d, str) and d in ("min", "max") for d in objectives.values())
        and bool(parameters)
        and all(_is_parameter(entry) for entry in parameters)
    )


def _is_parameter(entry: object) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("values"), list):
        return False
    texts = (entry.get("name"), entry.get("unit"), entry.get("label", ""))
    plain = str | int | float | None
    return (
        all(isinstance(text, str) for text in texts)
        and bool(entry["values"])
        and all(isinstance(value, plain) for value in entry["values"])
    )


def has_parts(folder: Path) -> bool:
    """Whether designs are recorded in a folder."""
    return bool(parts.numbers(folder / "designs"))


def named(run: str | Path) -> Path:
    """The folder that a run is named by. Raises InputError for a name that is empty.

    run : a path, as the user gave it.
    """
    name = arguments.path(run, "run", "the folder of a run")
    if not name:
        raise InputError("is empty", field="run", hint="the folder of a run")
    return Path(name)


def existing(folder: Path) -> dict[str, Any]:
    """The manifest of the run in a folder. Raises InputError where none is there.

    Raises EvaluationError where a search has begun there that has committed nothing yet.
    """
    manifest = read(folder, f"a run is read with its {NAME}")
    if manifest is None and paths.exists(folder / LOCK):
        raise EvaluationError(f"{folder}: {NOTHING}")
    if manifest is None:
        raise InputError("is not the folder of a run", file=folder, hint="transcode search SPACE")
    return manifest


def write(folder: Path, manifest: Mapping[str, object]) -> None:
    """Replaces the manifest."""
    write_json(folder / NAME, manifest)


def refuse_other(
    place: Path | str,
    old: Mapping[str, object],
    new: Mapping[str, object],
    hint: str = "--fresh replaces it; or choose another --out",
) -> None:
    """Refuses to continue a run of another space, simulator or seed, and shows what differs.

    place : the run folder. old, new : the manifest that is there and the one that is asked for.
        hint : what the user may do.
    """
    if all(old.get(key) == new[key] for key in ("space_sha256", "simulator", "seed")):
        return
    raise InputError(
        f"holds another run{differing(('seed', 'simulator', 'space'), old, new)}",
        file=place,
        hint=hint,
    )


def differing(
    keys: Iterable[str],
    old: Mapping[str, object],
    new: Mapping[str, object],
    sides: tuple[str, str] = ("there", "asked for"),
) -> str:
    """Some lines for what differs between two manifests, each after the end of one.

    keys : of the manifests. old, new : the manifests. sides : what each is called.
    """
    lines: list[str] = []
    for key in keys:
        if old.get(key) != new.get(key):
            lines += differences(key, old.get(key), new.get(key), sides)
    shown = lines[:_SHOWN] + (["..."] if len(lines) > _SHOWN else [])
    return "".join(f"\n  {line}" for line in shown)


def other_libraries(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """A note where the run began with other versions of the libraries.

    old, new : the manifest that is there and the one of now.
    """
    lines = list(differences("versions", old.get("versions"), new["versions"]))
    return [f"last digits may differ: {line}" for line in lines] if old.get("versions") else []


def differences(
    where: str, old: object, new: object, sides: tuple[str, str] = ("there", "asked for")
) -> Iterator[str]:
    """A line for each place where two descriptions differ.

    old, new : the descriptions, as JSON has them. sides : what each is called.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                yield from differences(f"{where}.{key}", old.get(key), new.get(key), sides)
        return
    if where == "space.parameters" and _are_parameters(old) and _are_parameters(new):
        yield from _parameters(old, new, sides)
        return
    yield f"{where}: {_short(old)} {sides[0]}, {_short(new)} {sides[1]}"


def _are_parameters(value: object) -> TypeGuard[list[dict[str, object]]]:
    """Whether it is a list of mappings with names: a manifest may be of somebody's own making."""
    if not isinstance(value, list):
        return False
    return all(isinstance(p, dict) and isinstance(p.get("name"), str) for p in value)


def _parameters(
    old: list[dict[str, object]], new: list[dict[str, object]], sides: tuple[str, str]
) -> Iterator[str]:
    """Parameters that differ: in their values, or else in what is said of them."""
    there, asked = ({str(p.get("label", p["name"])): p for p in ps} for ps in (old, new))
    for name in dict.fromkeys([*there, *asked]):
        a, b = there.get(name, {}), asked.get(name, {})
        if a.get("values") != b.get("values"):
            values = _short(a.get("values")), _short(b.get("values"))
            yield f"{name}: {values[0]} {sides[0]}, {values[1]} {sides[1]}"
        elif a != b:
            yield from differences(name, a, b, sides)


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value[:12] if isinstance(value, str) and _SHA.fullmatch(value) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def clear(folder: Path) -> None:
    """Removes the files of an earlier run, and nothing else."""
    designs = folder / "designs"
    gone = [designs / name for name in paths.names(designs) if parts.is_ours(name)]
    gone += [folder / name for name in (*_FILES, WARM)]
    try:
        for path in gone:
            path.unlink(missing_ok=True)
        if paths.exists(folder / PROXIES):
            shutil.rmtree(folder / PROXIES)
    except OSError as error:
        raise paths.refused(error, error.filename or folder, doing="removed") from None
