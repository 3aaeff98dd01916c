"""Arguments of the Python API, of which a program may hand in what no command line can.

What a function takes as it is goes through, numbers and truths of numpy become Python's, and all
else is an InputError that names the argument and what it has to be.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np

from elector.base.errors import InputError

#: Largest whole number that is written down: seeds, budgets.
MOST = 2**63 - 1


def path(value: object, field: str, kind: str = "a path") -> str:
    """A path or a name as text. Raises InputError for what is neither text nor a path.

    field : the argument. kind : what it has to be, for the message.

    value : as the program handed it in.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if isinstance(text, str):
        return text
    raise InputError(f"must be {kind}", field=field, value=type(value).__name__)


def text(value: object, field: str) -> str:
    """A text. Raises InputError for anything else.

    value : as the program handed it in. field : the argument.
    """
    if isinstance(value, str):
        return value
    raise InputError("must be text", field=field, value=type(value).__name__)


def texts(value: object, field: str) -> list[str]:
    """Texts: one, or a list of them. Raises InputError for anything else.

    value : as the program handed it in. field : the argument.
    """
    if isinstance(value, str):
        return [value]
    if not isinstance(value, Sequence) or isinstance(value, bytes):
        raise InputError("must be text or a list of texts", field=field, value=type(value).__name__)
    return [text(own, field) for own in value]


def require_function(value: object, field: str) -> None:
    """Raises InputError for what is neither None nor can be called.

    value : as the program handed it in. field : the argument.
    """
    if value is not None and not callable(value):
        raise InputError("must be a function", field=field, value=type(value).__name__)


def settings(value: object) -> Mapping[str, object]:
    """Settings by their dotted names; none for None. Raises InputError for what is no mapping.

    value : as the program handed it in.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        said = "must be a mapping of dotted names to values"
        raise InputError(said, field="settings", value=type(value).__name__)
    for key in value:
        if not isinstance(key, str):
            said = "a name must be text, such as workload.batch"
            raise InputError(said, field="settings", value=key)
    return value


def whole(value: object) -> int | None:
    """A whole number as Python's, those of numpy included; None for what is none, or a truth.

    value : as the program handed it in.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return None
    return int(value)


def number(value: object) -> float | None:
    """A number as Python's, those of numpy included; None for what is none, or a truth.

    value : as the program handed it in.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        return float(value)
    except OverflowError:  # a whole number of 310 digits or more
        return math.inf if value > 0 else -math.inf


def flag(value: object, field: str) -> bool:
    """Whether something is asked for; None is no. Raises InputError for what is no truth: of a
    text, "no" would count as one.

    value : as the program handed it in. field : the argument.
    """
    if value is None or isinstance(value, bool | np.bool_):
        return bool(value)
    raise InputError("must be True or False", field=field, value=type(value).__name__)
