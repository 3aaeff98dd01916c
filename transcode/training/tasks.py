"""Every task by name, and a user's own table or text by path."""

from __future__ import annotations

from pathlib import Path

from elector.base import paths
from elector.base.errors import InputError
from transcode.training.task import Task

#: name -> what is learned, for lists and help texts.
TASKS: dict[str, str] = {
    "digits": "handwritten digits from patches of the image",
    "digits-tokens": "handwritten digits from pixels as tokens",
    "co2": "carbon dioxide at Mauna Loa, weekly, half a year ahead",
    "elnino": "sea-surface temperature, monthly, half a year ahead",
    "sunspots": "sunspots, yearly, four years ahead",
    "climate": "carbon dioxide and sea-surface temperature together, monthly",
    "docstrings": "the next byte of the standard library's docstrings",
}
_TEXT = (".txt", ".md", ".rst", ".text")


def list_tasks() -> list[str]:
    """Names of the tasks that need no file."""
    return list(TASKS)


def load_task(
    name_or_path: str,
    *,
    sequence_length: int | None = None,
    horizon: int | None = None,
    seed: int = 0,
) -> Task:
    """A task by name, from a table of time series (.csv), or from a text (.txt .md .rst).

    sequence_length : tokens, patches or time steps of an example (the task's own if None).
    horizon : steps a forecast covers. seed : which digits are in which split; the other tasks
    are split by time, by module or by place in the file, whatever the seed.
    Raises InputError for an unknown name, an unreadable file and sizes that do not fit.

    name_or_path : a task, or a file.
    """
    name = str(name_or_path)
    path = Path(name)
    if name not in TASKS and path.suffix.lower() not in (*_TEXT, ".csv"):
        raise InputError(
            "unknown task",
            field="task",
            value=name,
            allowed=list_tasks(),
            hint="or the path of a .csv of time series, or of a .txt, .md or .rst text",
        )
    forecasts = name in ("co2", "elnino", "sunspots", "climate") or path.suffix.lower() == ".csv"
    if horizon is not None and not forecasts:
        raise InputError(f"task {name} forecasts nothing", field="horizon", value=horizon)
    if sequence_length is not None and sequence_length < 1:
        raise InputError("must be at least 1", field="sequence_length", value=sequence_length)
    if horizon is not None and horizon < 1:
        raise InputError("must be at least 1", field="horizon", value=horizon)
    if name in TASKS:
        return _shipped(name, sequence_length, horizon, seed)
    if not paths.exists(path, "task"):
        raise InputError("does not exist", file=name)
    if path.suffix.lower() == ".csv":
        from transcode.training.series import csv_file

        return csv_file(path, sequence_length=sequence_length, horizon=horizon)
    from transcode.training.text import text_file

    return text_file(path, sequence_length=sequence_length)


def _shipped(name: str, length: int | None, horizon: int | None, seed: int) -> Task:
    if name.startswith("digits"):
        from transcode.training import images

        make = images.digits if name == "digits" else images.digits_tokens
        return make(sequence_length=length, seed=seed)
    if name == "docstrings":
        from transcode.training.text import docstrings

        return docstrings(sequence_length=length)
    from transcode.training import climate

    series = {
        "co2": climate.co2,
        "elnino": climate.elnino,
        "sunspots": climate.sunspots,
        "climate": climate.climate,
    }
    return series[name](sequence_length=length, horizon=horizon)
