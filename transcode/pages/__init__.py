"""A run as one HTML page: in comes a run folder, out goes a file that needs no network.

`content` gathers what the page shows, `front` its designs as columns, `insight` which settings
matter, how the search converged and how far the figures are to be trusted, `baseline` the design
that a run is compared with. The page is drawn by data/page of elector. A new view is data here and
a drawing there.
"""

from __future__ import annotations

from pathlib import Path

from elector.base import arguments, page
from transcode.pages.baseline import Baseline, read_baseline
from transcode.pages.content import body, gathered
from transcode.runs import manifest
from transcode.runs.files import place_of

__all__ = ["Baseline", "read_baseline", "report"]


def report(
    run: str | Path, *, out: str | Path | None = None, baseline: int | str | Path | None = None
) -> Path:
    """Write the page of a run and return where it lies.

    Parameters
    ----------
    run : a run folder. out : report.html in it by default.
    baseline : a design to compare with: the id of a recorded one, or a CSV table (front.csv of
        another run, a table of `elector sweep`) whose first row it is.

    Raises InputError for a folder without a run and for a baseline that cannot be read, and
    InfeasibleError where no design is feasible.
    """
    folder = manifest.named(run)
    named = None if out is None else Path(arguments.path(out, "out"))
    asked = arguments.whole(baseline)  # the id of a design, also as numpy has it
    if asked is None and baseline is not None:
        baseline = arguments.path(baseline, "baseline", "the id of a design, or a path")
    other = baseline if asked is None else asked
    content = gathered(folder, None if other is None else read_baseline(folder, other))
    text = page.document(content.title, body(content), content.told, content.columns, "run.js")
    path = place_of(folder, "report.html") if named is None else named
    page.write(text, path)
    return path
