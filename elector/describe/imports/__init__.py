"""Files of other tools -> operation lists, without running any code of theirs.

In comes a `config.json` of transformers, a program of torch.export (`.pt2`) or an ONNX file; out
comes a model of family operations. Front ends (transformers_config, exported, onnx_file) say what
runs at given sizes (calls, traced); `traced` follows the sizes. They need the extra `import`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from elector.base import paths
from elector.base.errors import InputError
from elector.describe.imports import limits
from elector.describe.imports.program import ImportedProgram
from elector.describe.imports.traced import listing
from elector.describe.model import Model

__all__ = ["Imported", "import_file"]

SUFFIXES = (".json", ".pt2", ".onnx")


@dataclass(frozen=True)
class Imported:
    """A model, and what its user should know of how it was read."""

    model: Model
    said: tuple[str, ...]


def import_file(
    path: str, symbols: Mapping[str, str] | None = None, class_name: str = ""
) -> Imported:
    """The operation list of a file.

    path : config.json, .pt2 or .onnx. symbols : size of the file that varies -> a number that
    fixes it, or batch, length or another name that the list gives it. class_name : of
    transformers, instead of the one that a config names.
    Raises InputError naming what cannot be read, and the library that is missing.
    """
    program = _program(path, dict(symbols or {}), class_name)
    listed = listing(program.trace, program.symbols, program.parameters, path)
    said = list(program.said)
    if program.unknown.names:
        names = ", ".join(sorted(program.unknown.names))
        said.append(f"counted as one operation an element: {names}")
    if program.unknown.asked:
        said.append("the class asks whether all of a mask is set: it is, there is no padding")
    model = Model(
        Path(path).parent.name if Path(path).name == "config.json" else Path(path).stem,
        "operations",
        source=program.source,
        listing=listed,
    )
    return Imported(model, tuple(said))


def _program(path: str, symbols: dict[str, str], class_name: str) -> ImportedProgram:
    suffix = Path(path).suffix.lower()
    if not paths.exists(path, "FILE"):
        raise InputError("does not exist", file=path)
    if paths.is_folder(path) or paths.is_special(path):
        raise InputError("is no plain file", file=path)
    if class_name and suffix != ".json":
        raise InputError("is for a config.json", field="--class", value=class_name)
    if suffix == ".json":
        from elector.describe.imports.transformers_config import read_config

        data = paths.read_bytes(path, limits.DESCRIPTION)
        _require("transformers", "torch")
        return _fixed(read_config(path, data, class_name), symbols, path)
    if suffix == ".pt2":
        from elector.describe.imports.exported import read_exported

        return read_exported(path, symbols)
    if suffix == ".onnx":
        from elector.describe.imports.onnx_file import read_onnx

        _require("onnx")
        return read_onnx(path, symbols)
    if suffix in (".pt", ".pth", ".bin", ".pkl", ".ckpt"):
        raise InputError(
            "is a pickle, which runs code when it is read", file=path, hint="torch.export.save"
        )
    raise InputError("unknown kind of file", file=path, value=suffix, allowed=SUFFIXES)


def _require(*modules: str) -> None:
    """Raise InputError naming the extra where a library is missing."""
    import importlib.util

    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise InputError(
                f"needs {module}, which is not installed",
                field="import",
                hint="install it with the extra [import] (docs/import.md)",
            )


def _fixed(program: ImportedProgram, symbols: dict[str, str], path: str) -> ImportedProgram:
    """Symbols of a program, some of them fixed to a number by the user."""
    names = [s.name for s in program.symbols]
    fixed = {}
    for name, value in symbols.items():
        if name not in names:
            raise InputError(
                "no size of the file has this name",
                file=path,
                field="--symbol",
                value=name,
                allowed=names,
            )
        if not value.isdigit() or int(value) < 1:
            raise InputError(
                "must be a whole number from 1 on",
                file=path,
                field="--symbol",
                value=f"{name}={value}",
            )
        fixed[name] = int(value)
    inner = program.trace
    return replace(
        program,
        trace=lambda point: inner({**point, **fixed}),
        symbols=[s for s in program.symbols if s.name not in fixed],
        said=[*program.said, *(f"{n} is fixed to {v}" for n, v in fixed.items())],
    )
