"""transcode: which pair of transformer and accelerator should we build?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from transcode.search import Interrupted, Progress, Result, search

if TYPE_CHECKING:
    import pandas as pd

__version__ = "0.1.0"
__all__ = ["Interrupted", "Progress", "Result", "__version__", "front", "search"]


def front(run: str | Path) -> pd.DataFrame:
    """The front of a run folder, as the last checkpoint left it."""
    import pandas as pd

    from transcode import runs

    folder = runs.manifest.existing(Path(run))
    return pd.read_csv(folder / "front.csv")
