"""Accelerators by name or file: a machine kind, and the settings that a design starts from."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import DATA, load_yaml, read_rows
from elector.describe.formats import load_scalesim_config
from elector.evaluation.data_sheets import Stated, stated
from elector.machines import MACHINES
from elector.machines.contract import Machine

Array = np.ndarray

#: Most accelerators of which each is based on the next.
_DEEPEST = 16


@dataclass(frozen=True, eq=False, repr=False)
class Accelerator:
    """A machine kind with the settings of a preset or file."""

    name: str
    machine: Machine
    settings: dict[str, object]
    file: object
    description: str = ""
    source: str = ""


def list_accelerators() -> list[str]:
    """Names of the shipped accelerators, every machine with the defaults of its schema."""
    return sorted({*_presets(), *devices(), *MACHINES})


def _presets() -> list[str]:
    """Names of the accelerators that have a file of their own."""
    files = paths.names(DATA / "accelerators", "*.yaml")
    return [file.removesuffix(".yaml") for file in files]


@functools.cache
def devices() -> dict[str, dict[str, str]]:
    """Name -> the filled cells of its row in accelerators/*.csv: settings, source, description.

    A table for machines of which many are sold; its column `base` names the machine.
    """
    cells_of: dict[str, dict[str, str]] = {}
    for file in paths.names(DATA / "accelerators", "*.csv"):
        path = DATA / "accelerators" / file
        for row in read_rows(path):
            cells_of[row.pop("name")] = {"file": str(path)} | {k: t for k, t in row.items() if t}
    return cells_of


def load_accelerator(name: str) -> Accelerator:
    """A shipped accelerator or a YAML file with `base` and settings of its schema.

    A file is read each time: it may have changed since, or lie in another folder.
    """
    return _shipped(name) if name in _names() else _load(name, ())


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(list_accelerators())


@functools.cache
def _shipped(name: str) -> Accelerator:
    return _load(name, ())


def _load(name: str, above: tuple[str, ...]) -> Accelerator:
    """An accelerator, as the base of those `above` it, the outermost first."""
    known = name in _names()
    path = DATA / "accelerators" / f"{name}.yaml" if known else Path(name)
    if not name or (not known and not paths.exists(path, "accelerator")):
        raise InputError(
            "unknown accelerator",
            field="accelerator",
            value=name,
            allowed=list_accelerators(),
            hint="no such file" if path.suffix or path.name != name else None,
        )
    if name in devices():
        data: object = dict(devices()[name])
    elif known and name not in _presets():
        data = {"base": name, "description": MACHINES[name].description}
    else:
        data = _settings_of(path)
    if not isinstance(data, dict):
        raise InputError("must be a mapping of settings", file=path)
    path = Path(data.pop("file")) if name in devices() else path
    machine, settings = _described(data, name if known else None, path, above=(*above, name))
    if name in devices():
        settings |= {k: stated(name, k, settings[k]) for k in machine.stated}
    words = (str(data.get(key, "")) for key in ("description", "source"))
    return Accelerator(name, machine, settings, path, *words)


def _described(
    data: Mapping[str, object],
    name: str | None,
    file: object,
    at: str = "",
    above: tuple[str, ...] = (),
) -> tuple[Machine, dict[str, object]]:
    """Machine and settings that entries describe; `name` where they are a preset's own.

    at : the unit of a hybrid they stand for; its base is then what `simulate` calls so.
    above : the accelerators that are being read, which this one may not lead back to.
    """
    prefix = f"{at}." if at else ""
    if "units" in data and "base" not in data:
        from elector.hybrid import read as assembly  # only a hybrid needs it

        machine, settings = assembly.read(
            data, file, lambda d, at, f: _described(d, None, f, at, above)
        )
    else:
        machine, settings = _built_on(data, name, file, at, above)
    fields = machine.fields
    own = {**data, **settings} if machine.hybrid is not None else data
    for key, value in own.items():
        if key in ("base", "description", "source", "name"):
            continue
        if machine.hybrid is not None and key in ("units", "links", "assignment"):
            continue
        if key not in fields:
            raise InputError(
                "unknown key", file=file, field=f"{prefix}{key}", value=str(key), allowed=fields
            )
        # A figure of a data sheet has been read already, and knows how firm it is.
        kept = isinstance(value, Stated)
        settings[str(key)] = (
            value if kept else fields[key].parse(value, file=file, field=f"{prefix}{key}")
        )
    return machine, settings


def _built_on(
    data: Mapping[str, object], name: str | None, file: object, at: str, above: tuple[str, ...]
) -> tuple[Machine, dict[str, object]]:
    """Machine and settings of what entries name as their base; see `_described`."""
    base = data.get("base", name)
    field = f"{at}.base" if at else "base"
    if base in MACHINES and not (at and base in list_accelerators()):
        return MACHINES[str(base)], {}
    if not isinstance(base, str) or base == name or not _is_accelerator(base):
        raise InputError(
            "names no machine",
            file=file,
            field=field,
            value=base,
            allowed=[*MACHINES, *list_accelerators()],
        )
    base = paths.beside(base, file)
    if base not in _names() and not paths.exists(base, field):
        hint = "it is looked for from where the command runs, then beside this file"
        raise InputError("does not exist", file=file, field=field, value=base, hint=hint)
    below = _load(_below(base, above, file, field), above)
    if below.machine.hybrid is None:
        return below.machine, dict(below.settings)
    from elector.hybrid import read as assembly  # only a hybrid needs it

    return assembly.change(below.machine, dict(below.settings), data, file)


def _below(base: str, above: tuple[str, ...], file: object, field: str) -> str:
    """The base, if it does not lead back to what is based on it."""
    if base in above or len(above) >= _DEEPEST:
        problem = "is based on itself" if base in above else f"has more than {_DEEPEST} bases"
        raise InputError(
            problem,
            file=file,
            field=field,
            value=base,
            hint=f"it ends in one of {', '.join(MACHINES)}",
        )
    return base


def _is_accelerator(name: str) -> bool:
    return name in list_accelerators() or Path(name).suffix in (".yaml", ".yml")


def _settings_of(path: Path) -> object:
    """What a file says: ours in YAML, or a SCALE-Sim configuration."""
    if path.suffix == ".cfg" or (paths.is_pipe(path) and paths.read_text(path)[:1] == "["):
        return _peer_settings(path)
    return load_yaml(path)


def _peer_settings(path: Path) -> dict[str, object]:
    """Settings of a SCALE-Sim .cfg file."""
    settings = load_scalesim_config(path)
    return {"base": "systolic"} | {k.removeprefix("accelerator."): v for k, v in settings.items()}
