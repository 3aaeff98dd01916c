"""The run folder: what is written while a search runs, and read when it goes on."""

from transcode.runs import (
    checks,
    choice,
    comparison,
    design,
    front,
    manifest,
    parts,
    query,
    snapshot,
    storage,
    study,
)
from transcode.runs.files import claimed
from transcode.runs.parts import Batch
from transcode.runs.study import StudyTrial, distribution

__all__ = [
    "Batch",
    "StudyTrial",
    "checks",
    "choice",
    "claimed",
    "comparison",
    "design",
    "distribution",
    "front",
    "manifest",
    "parts",
    "query",
    "snapshot",
    "storage",
    "study",
]
