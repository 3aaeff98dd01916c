"""SCALE-Sim's configuration files (.cfg) as settings of our systolic machine.

Keys as scalesim 3.0.0 reads them (scale_config.py): without regard to case, in any of the
sections that its versions have used.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from elector.base.errors import InputError
from elector.base.paths import read_text
from elector.describe.formats.described import whole

_SRAM = ("ifmapsramszkb", "filtersramszkb", "ofmapsramszkb")
_DATAFLOWS = ("ws", "os", "is")


def load_scalesim_config(path: str | Path) -> dict[str, object]:
    """Dotted accelerator settings: rows, cols, dataflow, sram, convention, interface_bandwidth.

    sram [byte] is the sum of the three memories (kB of 1,024 bytes, as the peer counts).
    interface_bandwidth [words a cycle] is present under `InterfaceBandwidth: USER` only: what each
    of the three interfaces moves. Of a list the peer takes the first. Under CALC it runs without
    stalls, and so does `convention: scalesim` without an interface_bandwidth.
    """
    path = Path(path)
    values = _read(path)
    _refuse_unsupported(values, path)
    settings: dict[str, object] = {
        "accelerator.rows": whole(values, "arrayheight", path, 65536, "ArrayHeight"),
        "accelerator.cols": whole(values, "arraywidth", path, 65536, "ArrayWidth"),
        "accelerator.dataflow": _dataflow(values, path),
        "accelerator.sram": sum(whole(values, key, path) * 1024 for key in _SRAM),
        "accelerator.convention": "scalesim",
    }
    if _user_bandwidth(values, path):
        settings["accelerator.interface_bandwidth"] = _bandwidth(values, path)
    return settings


def _read(path: Path) -> dict[str, str]:
    """Every key of every section, in lower case."""
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    try:
        parser.read_string(read_text(path), source=path.name)
    except configparser.Error as error:
        problem = str(error).replace("\n", " ")
        raise InputError(f"is not a SCALE-Sim configuration: {problem}", file=path) from None
    if not parser.has_section("architecture_presets"):
        raise InputError("section is missing", file=path, field="architecture_presets")
    return {key: value.strip() for name in parser.sections() for key, value in parser[name].items()}


def _refuse_unsupported(values: dict[str, str], path: Path) -> None:
    # layouts of the banks and the DRAM trace change stalls only, which no count here has
    if values.get("sparsitysupport", "false").lower() == "true":
        raise InputError(
            "is not read from a configuration; set it to false",
            file=path,
            field="SparsitySupport",
            hint="give densities with workload.sparsity",
        )


def _dataflow(values: dict[str, str], path: Path) -> str:
    dataflow = values.get("dataflow", "").lower()
    if dataflow not in _DATAFLOWS:
        raise InputError(
            "unknown choice", file=path, field="Dataflow", value=dataflow, allowed=_DATAFLOWS
        )
    return dataflow


def _user_bandwidth(values: dict[str, str], path: Path) -> bool:
    mode = values.get("interfacebandwidth", "CALC").upper()
    if mode not in ("USER", "CALC"):
        raise InputError(
            "unknown choice",
            file=path,
            field="InterfaceBandwidth",
            value=mode,
            allowed=("USER", "CALC"),
        )
    return mode == "USER"


def _bandwidth(values: dict[str, str], path: Path) -> float:
    listed = values.get("bandwidth", "")
    words = [
        whole({"bandwidth": word.strip()}, "bandwidth", path, field="Bandwidth")
        for word in listed.split(",")
    ]
    return float(words[0])
