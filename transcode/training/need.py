"""Libraries of the extra, asked for in one place."""

from __future__ import annotations

import importlib
from typing import Any

from elector.base.errors import InputError
from transcode.extras import installing


def need(module: str, package: str) -> Any:
    """The module, or an InputError of one line that names the extra that brings it.

    package : the module's name.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        raise InputError(
            f"needs {package}, which is not installed: {installing('train')}",
            field="transcode train",
        ) from None
