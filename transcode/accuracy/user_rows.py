"""Accuracy rows of the user's own: the contract's columns, checked line by line.

    name, task, metric, score, std, layers, hidden, heads, feed_forward, parameters, source,
    evidence

and, where they are given, family, recipe, split, distilled, tuning and tokens, as in the shipped
tables, or tau_i, tau_t and seed of a row that was trained with pruning. A column may also be a
setting by its dotted name (workload.sequence_length, model.kv_heads, accelerator.adc_bits): the
source `table` then prices that setting. Numbers of such a column are bare, in the unit of the
setting's schema; an empty cell is a model for which nothing was set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elector.base import units
from elector.base.errors import InputError
from elector.base.table import read_csv, require_once
from elector.evaluation.settings import is_known
from transcode.accuracy.published_scores import FEATURES, PublishedScore

COLUMNS = (
    "name",
    "task",
    "metric",
    "score",
    "std",
    "layers",
    "hidden",
    "heads",
    "feed_forward",
    "parameters",
    "source",
    "evidence",
)
MORE = (
    "family",
    "recipe",
    "split",
    "distilled",
    "tuning",
    "tokens",
    "tau_i",
    "tau_t",
    "seed",
    "verified",
    "use",
    "note",
)
NEEDED = ("task", "score", *FEATURES)
#: Largest number of layers, width or heads of a model; largest number of a cell, whose square and
#: sums of it are numbers too.
LARGEST_SIZE, LARGEST = 1e9, 1e30
EVIDENCE = ("measured", "published", "synthesis", "scaled", "derived", "assumed")


@dataclass(frozen=True)
class UserRow:
    """One row of a user's file.

    score, std : as written; std None where there is none. record : every cell by column. settings :
        of the dotted columns, as `comparable` writes them.
    """

    line: int
    name: str
    task: str
    metric: str
    score: float
    std: float | None
    shape: tuple[float, ...]
    tau_i: float
    tau_t: float
    seed: str
    record: Mapping[str, str]
    settings: Mapping[str, object]


def read_rows(path: str | Path) -> list[UserRow]:
    """Every row of the file; InputError naming line and column."""
    names, lines = read_csv(path)
    require_once(names, path)
    for name in names:
        if name not in (*COLUMNS, *MORE) and not _is_setting(name):
            raise InputError(
                "line 1: unknown column", file=path, value=name, allowed=(*COLUMNS, *MORE)
            )
    for name in NEEDED:
        if name not in names:
            raise InputError(f"line 1: the column {name} is missing", file=path)
    rows = []
    for line, cells in lines:
        if len(cells) != len(names):
            raise InputError(
                f"line {line}: has {len(cells)} cells, the header {len(names)}", file=path
            )
        record = dict(zip(names, cells, strict=True))
        if record.get("use", "yes") != "no":
            rows.append(_given(record, path, line))
    return rows


def _number(text: str, least: float, path: str | Path, field: str) -> float:
    """The number of a cell. field : where it stands."""
    value = units.parse(text, "1", field=field, file=path)
    if not value >= least:
        raise InputError(f"must be at least {least:g}", file=path, field=field, value=text)
    if abs(value) > LARGEST:
        raise InputError(f"must be at most {LARGEST:g}", file=path, field=field, value=text)
    return value


def _given(record: Mapping[str, str], path: str | Path, line: int) -> UserRow:
    def number(column: str, least: float = 0.0) -> float | None:
        text = record.get(column, "")
        return _number(text, least, path, f"line {line}: {column}") if text else None

    evidence = record.get("evidence") or "assumed"
    if evidence not in EVIDENCE:
        raise InputError(
            "unknown evidence",
            file=path,
            field=f"line {line}: evidence",
            value=evidence,
            allowed=EVIDENCE,
        )
    score = number("score", float("-inf"))
    shape = [number(column) for column in FEATURES]
    for column, value in (("score", score), *zip(FEATURES, shape, strict=True)):
        if value is None:
            raise InputError("is empty", file=path, field=f"line {line}: {column}")
    assert score is not None
    number("tokens")
    return UserRow(
        line=line,
        name=record.get("name", ""),
        task=record["task"].strip().lower(),
        metric=record.get("metric", ""),
        score=score,
        std=number("std"),
        shape=tuple(v for v in shape if v is not None),
        tau_i=number("tau_i") or 0.0,
        tau_t=number("tau_t") or 0.0,
        seed=record.get("seed", ""),
        record=record,
        settings={name: comparable(text) for name, text in record.items() if _is_setting(name)},
    )


def setting_columns(path: str | Path) -> tuple[str, ...]:
    """The dotted settings that a file of rows has columns for."""
    names, _ = read_csv(path)
    return tuple(name for name in names if _is_setting(name))


def _is_setting(name: str) -> bool:
    return "." in name and is_known(name)


def comparable(value: object) -> object:
    """A cell or a value of a design so that both compare: a float, a small word, None if empty."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return float(str(value))
    except ValueError:
        return str(value).strip().lower()


def of_task(rows: Sequence[UserRow], names: Sequence[str], path: str | Path) -> list[UserRow]:
    """The rows of a task by any of its names; InputError where there is none."""
    chosen = [row for row in rows if row.task in names]
    if not chosen:
        raise InputError(
            "has no row of this task",
            file=path,
            field="workload.task",
            value=names[0],
            allowed=sorted({row.task for row in rows}),
        )
    return chosen


def require_sizes(rows: Sequence[UserRow], path: str | Path) -> None:
    """Raises InputError where a model has a size that has no logarithm, or that no model has."""
    for row in rows:
        for column, value in zip(FEATURES, row.shape, strict=True):
            if not 1.0 <= value <= LARGEST_SIZE:
                raise InputError(
                    f"must be from 1 to {LARGEST_SIZE:g}: the surrogate goes by the logarithm",
                    file=path,
                    field=f"line {row.line}: {column}",
                    value=value,
                )


def as_published(row: UserRow, task: str, reference: str) -> PublishedScore:
    """The row as the surrogate takes it: of the task's stated protocol unless it says otherwise.

    reference : the source, where the row has none.
    """
    record = row.record
    return PublishedScore(
        name=row.name,
        task=task,
        score=row.score,
        **dict(zip(FEATURES, row.shape, strict=True)),
        family=record.get("family") or f"user:{row.name}",
        recipe=record.get("recipe") or reference,
        split=record.get("split") or "dev",
        distilled=record.get("distilled") == "yes",
        tuning=record.get("tuning") or "tuned",
        tokens=float(record["tokens"]) if record.get("tokens") else None,
        source=record.get("source", ""),
        verified=record.get("verified", "yes") == "yes",
    )
