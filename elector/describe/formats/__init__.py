"""Descriptions of models and machines that people already have -> ours.

A model is a preset's name, or a file: Hugging Face config.json, FlexiBERT dictionary, our
own YAML or JSON, an operation list, or matrix products (CSV, ours or SCALE-Sim's).
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from elector.base import paths
from elector.base.errors import InputError, nearest
from elector.base.table import DATA, load_json, load_yaml, read_csv
from elector.describe.formats.described import PRESETS, from_mapping, preset, preset_names
from elector.describe.layered import NAME as HETEROGENEOUS
from elector.describe.layered import base as heterogeneous
from elector.describe.listing import KIND
from elector.describe.model import Gemm, Model

__all__ = ["list_models", "load_model", "load_scalesim_config"]

_SUFFIXES = (".json", ".yaml", ".yml", ".csv")
#: What `elector import` makes a model file of.
_IMPORTED = (".pt2", ".onnx")
#: Bytes of the largest configuration.
LARGEST = 32 << 20
#: How the content of a pipe, which has no suffix, begins.
_JSON = re.compile(r'\s*\{\s*["}]')
_TABLE = re.compile(r"\s*[^,:{}\n]+,[^:{}\n]*\n")
#: A single product (M x K) by (K x N); a size has at most nine digits.
_PRODUCT = re.compile(r"gemm:([1-9]\d{0,8})x([1-9]\d{0,8})x([1-9]\d{0,8})")


def list_models() -> list[str]:
    """Names of the shipped models."""
    return sorted([*preset_names(), HETEROGENEOUS])


def load_model(name_or_path: str, ignore: tuple[str, ...] = ()) -> Model:
    """A model by preset name, by a name it is known under elsewhere, or from a file.

    `gemm:NAME` is a shipped list of matrix products, `gemm:MxNxK` a single one. ignore : keys of
    a Hugging Face configuration that are read past.

    name_or_path : a preset, a name known elsewhere, or a file.
    """
    name = str(name_or_path)
    if not name:
        raise InputError("names nothing", field="model", value=name, allowed=preset_names())
    if ignore:
        _require_configuration(name, ignore[0])
    if single := _PRODUCT.fullmatch(name):
        m, n, k = (int(size) for size in single.groups())
        return Model(name=name, family="gemm", gemms=(Gemm("product", m, n, k),), source=name)
    if name == HETEROGENEOUS:
        return heterogeneous()
    if name in preset_names():
        return preset(name)
    if name in _aliases():
        return preset(_aliases()[name])
    path = _shipped_gemms(name) if name.startswith("gemm:") else Path(name)
    if not (path.suffix.lower() in _SUFFIXES or os.sep in name or paths.exists(path, "model")):
        raise InputError(
            "unknown model",
            field="model",
            value=name,
            allowed=preset_names(),
            hint="or the path of a .json, .yaml or .csv file",
        )
    if not paths.exists(path, "model"):
        guess = nearest(path.stem, preset_names())
        raise InputError(
            "does not exist",
            file=name,
            hint=f"did you mean the preset {guess}?" if guess else "`elector list models`",
        )
    return _load_file(path, ignore)


def _require_configuration(name: str, key: str) -> None:
    """Refuses to read past a key of a model that no configuration describes.

    name : of the model. key : of a configuration.
    """
    if name == HETEROGENEOUS or name in preset_names() or name in _aliases():
        problem = "is a preset, which has no configuration to read past"
    elif name.startswith("gemm:") or Path(name).suffix.lower() == ".csv":
        problem = "is a list of products, which has no configuration to read past"
    else:
        return
    raise InputError(problem, field="model.ignore_keys", value=key)


def _shipped_gemms(name: str) -> Path:
    """`gemm:NAME` is the list of matrix products data/gemms/NAME.csv."""
    folder = DATA / "gemms"
    shipped = [file.removesuffix(".csv") for file in paths.names(folder, "*.csv")]
    if name.removeprefix("gemm:") not in shipped:
        raise InputError(
            "unknown list of matrix products",
            field="model",
            value=name,
            allowed=[f"gemm:{known}" for known in shipped],
            hint="or a single product by its sizes: gemm:MxNxK, each from 1 to 999999999",
        )
    return folder / f"{name.removeprefix('gemm:')}.csv"


def load_scalesim_config(path: str | Path) -> dict[str, object]:
    """Settings of an accelerator from the peer's .cfg (elector.describe.formats.scalesim)."""
    from elector.describe.formats.scalesim import load_scalesim_config as load

    return load(path)


@functools.cache
def _aliases() -> dict[str, str]:
    """Other names of the presets, such as bert-base-uncased."""
    return dict(cells[:2] for _, cells in read_csv(PRESETS / "aliases.csv")[1])


def _load_file(path: Path, ignore: tuple[str, ...] = ()) -> Model:
    if paths.is_folder(path):
        raise InputError("is a directory, not a file", file=path, hint="name its config.json")
    # Imported here: a preset, the usual case, needs none of these readers.
    from elector.describe.formats.flexibert import KEYS, from_dictionary
    from elector.describe.formats.gemm import load_gemms
    from elector.describe.formats.hf.read import from_config
    from elector.describe.formats.operations import from_listing

    suffix = _spoken_suffix(path) if paths.is_special(path) else path.suffix.lower()
    if suffix == ".csv":
        return load_gemms(path)
    if suffix not in _SUFFIXES:
        hint = f"elector import {path} --out model.yaml" if suffix in _IMPORTED else None
        raise InputError(
            "unknown kind of file", file=path, value=path.suffix, allowed=_SUFFIXES, hint=hint
        )
    # Configurations list thousands of modules, and bounds of infinity.
    data = load_json(path, LARGEST, finite=False) if suffix == ".json" else load_yaml(path)
    if not isinstance(data, dict):
        raise InputError("must hold a mapping of keys to values", file=path)
    name = path.parent.name if path.name == "config.json" and path.parent.name else path.stem
    if data.get("kind") == KIND:
        return from_listing(data, name, path)
    if set(data) & set(KEYS):
        return from_dictionary(data, name, path)
    # Hugging Face's and Google's first configurations, which have no model_type yet
    if set(data) & {"model_type", "architectures", "transformers_version", "hidden_size"}:
        return from_config(data, name, path, ignore)
    if ignore:
        raise InputError("is no configuration, whose keys could be read past", file=path)
    return from_mapping(data, name, path)


def _spoken_suffix(path: Path) -> str:
    """Suffix of a file that held what a pipe says. A device is refused."""
    text = paths.read_text(path)
    if _JSON.match(text):
        return ".json"
    return ".csv" if _TABLE.match(text) else ".yaml"
