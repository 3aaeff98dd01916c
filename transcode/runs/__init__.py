"""The run folder: what is written while a search runs, and read when it goes on.

In come batches of designs with their results, out come Parquet parts, manifest and front, and
answers to questions about them. What is committed can be read at any moment; a new file in the
folder has to be written whole or not at all.
"""

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
