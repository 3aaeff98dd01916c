"""The run folder: what is written while a search runs, and read when it goes on."""

from transcode.runs import checks, choice, comparison, front, manifest, parts, query, storage, study
from transcode.runs.files import locked
from transcode.runs.parts import Batch
from transcode.runs.study import Trial, distribution

__all__ = [
    "Batch",
    "Trial",
    "checks",
    "choice",
    "comparison",
    "distribution",
    "front",
    "locked",
    "manifest",
    "parts",
    "query",
    "storage",
    "study",
]
