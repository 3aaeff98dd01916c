"""Checkpoints: one file, complete or not there, checked before it is believed.

    transcode checkpoint 1
    <sha256 of the rest>
    <torch.save of tensors and plain values>

It is read with `weights_only`, so that a file from elsewhere cannot run code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from elector.base.errors import InputError
from transcode.runs.files import replace_file

NAME = "checkpoint.pt"
_MAGIC = b"transcode checkpoint 1\n"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Replaces the checkpoint of a run folder."""
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
    if not path.exists():
        return None
    content = path.read_bytes()
    at = len(_MAGIC)
    sha, body = content[at : at + 64], content[at + 65 :]
    if content[:at] != _MAGIC or hashlib.sha256(body).hexdigest().encode() != sha:
        raise InputError("the checkpoint is damaged", file=path, hint="--fresh starts anew")
    state: dict[str, Any] = torch.load(io.BytesIO(body), weights_only=True)
    return state
