"""A process that works on a shared study: its simulator takes a while, and may hang.

python storage_worker.py FOLDER BUDGET SECONDS MARKER HANG_AT; the address is in the environment.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from search_fakes import SMALL, FakeCost, fake

import transcode
from transcode.runs import storage


def main(folder: str, budget: str, seconds: str, marker: str, hang_at: str) -> None:
    asked = 0

    def slow(columns: object, size: int) -> FakeCost:
        nonlocal asked
        if size == 1:
            asked += 1
            if asked == int(hang_at):
                Path(marker).touch()
                time.sleep(600.0)
            time.sleep(float(seconds))
        return fake(columns, size)  # type: ignore[arg-type]

    storage.HEARTBEAT, storage.GRACE = 1, 3
    transcode.search(
        SMALL,
        sampler="nsga2",
        budget=int(budget),
        out=folder,
        evaluator=slow,
        storage=os.environ["TRANSCODE_STORAGE"],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
