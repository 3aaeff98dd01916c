"""Checkpoints: one file, complete or not there, checked before it is believed.

    transcode checkpoint 1
    <sha256 of the rest>
    <torch.save of tensors and plain values>

It is read with `weights_only`, so that a file from elsewhere cannot run code.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from elector.base import paths
from elector.base.errors import InputError
from transcode.runs.files import replace_file

NAME = "checkpoint.pt"
_FRESH = "--fresh starts anew"
#: Largest checkpoint that is read [byte].
_LARGEST = 1 << 34
_Answer = TypeVar("_Answer")
_MAGIC = b"transcode checkpoint 1\n"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint of a run folder.

    state : name -> tensors and numbers.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    body = buffer.getvalue()
    head = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
    replace_file(folder / NAME, lambda temporary: _fill(temporary, head + body))


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def load(folder: Path) -> dict[str, Any] | None:
    """The state of a run folder, None before the first; InputError where it is damaged."""
    path = folder / NAME
    if not paths.exists(path):
        return None
    content = paths.read_bytes(path, _LARGEST)
    at = len(_MAGIC)
    sha, body = content[at : at + 64], content[at + 65 :]
    if content[:at] != _MAGIC or hashlib.sha256(body).hexdigest().encode() != sha:
        raise InputError("the checkpoint is damaged", file=path, hint=_FRESH)
    state = restored(folder, lambda: torch.load(io.BytesIO(body), weights_only=True))
    if not isinstance(state, dict):
        raise InputError("is the checkpoint of something else", file=path, hint=_FRESH)
    return state


def restored(folder: Path, work: Callable[[], _Answer]) -> _Answer:
    """What `work` does with a state; InputError where the state is of something else.

    The sum of a checkpoint says that it is whole, not whose it is.
    """
    try:
        return work()
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, EOFError) as error:
        said = f"is the checkpoint of something else ({type(error).__name__})"
    except pickle.UnpicklingError:
        said = "is the checkpoint of something else: it holds more than tensors and plain values"
    raise InputError(said, file=folder / NAME, hint=_FRESH)
