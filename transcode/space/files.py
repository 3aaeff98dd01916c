"""Where spaces lie, and what a file says, that of the space it extends included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elector.base import paths
from elector.base.errors import InputError
from elector.base.table import load_yaml

#: A space may extend one that extends another, so often.
_DEEPEST = 4


def shipped() -> dict[str, Path]:
    """The spaces that come with the package, by name."""
    package = Path(__file__).parent.parent
    for folder in (package / "spaces", package.parent / "spaces"):  # a wheel; a checkout
        if paths.is_folder(folder):
            names = paths.names(folder, "*.yaml")
            return {name.removesuffix(".yaml"): folder / name for name in names}
    return {}


def find(name: str | Path) -> Path:
    """The file of a space given by path, or by the name of a shipped one."""
    if not str(name):
        raise InputError("is empty", field="space", allowed=shipped())
    path = Path(name)
    if str(name) in shipped() and not paths.is_file(path):  # a folder may have that name, too
        return shipped()[str(name)]
    named = path.suffix in (".yaml", ".yml") or len(path.parts) != 1
    if named or paths.exists(path, "space"):
        return path
    raise InputError(
        "is neither a file nor a shipped space",
        field="space",
        value=str(name),
        allowed=shipped(),
    )


def read(path: Path, depth: int = 0) -> dict[str, Any]:
    """The mapping in a file; `extends: FILE` takes over every key that is not given again.

    depth : files that extend one another above this one.
    """
    data = load_yaml(path)
    if not isinstance(data, dict):
        raise InputError("a space is a mapping", file=path, value=type(data).__name__)
    if "extends" not in data:
        return data
    below = data.pop("extends")
    if not isinstance(below, str) or depth >= _DEEPEST:
        raise InputError(
            "must be a file or a shipped space, and end somewhere",
            file=path,
            field="extends",
            value=below,
        )
    beside = path.parent / below
    return {**read(beside if paths.is_file(beside) else find(below), depth + 1), **data}
