"""Full disks: a file system too small for what is written, of every size, and room at last.

    sudo env PYTHONPATH=tests:tests/transcode python -m fuzz.disks --disks 50 --seed 0

Mounted as root, filled by the user nobody. Every time the work has to end with one line that names
the disk, what was committed is there and can be read, and with more room the same call ends as if
the disk had been large. It ends with 1 where that is not so.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing as mp
import os
import pwd
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elector.base.errors import ElectorError
from fuzz.kills import KINDS, PRELOADED, Kind, Lost, checked, demand

#: Room for a run that needs `need` bytes lies between these shares of it.
LEAST, MOST = 0.02, 1.25
OFTEN = ("search", "merge", "train")


def attempt(kind: str, folder: Path, said: Any, told: Any, user: int) -> None:
    """Runs the work of a kind as `user`; `said` gets the error that it ended with, or ""."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    try:
        next(k for k in KINDS if k.name == kind).work(folder, told, 0)
    except ElectorError as error:
        said.put(str(error))
    except BaseException as error:
        said.put(f"TRACEBACK {type(error).__name__}: {error}")
    else:
        said.put("")


@contextlib.contextmanager
def mounted(place: Path, size: int, user: int) -> Iterator[None]:
    """A file system in memory of `size` bytes."""
    place.mkdir(parents=True, exist_ok=True)
    options = f"size={size},uid={user},gid={user},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def larger(place: Path) -> None:
    """Makes room."""
    subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)


class Disks:
    """Full disks of one kind of work. full : that were. late : only at the very end."""

    def __init__(self, kind: Kind, place: Path, draw: random.Random, server: Any) -> None:
        self.kind, self.place, self.draw, self.server = kind, place, draw, server
        self.user = pwd.getpwnam("nobody").pw_uid
        self.full = self.late = self.need = 0
        self.sizes: list[int] = []

    def run(self, folder: Path) -> str:
        """What one attempt ends with."""
        said, told = self.server.Queue(), self.server.Value("q", 0)
        task = self.server.Process(
            target=attempt, args=(self.kind.name, folder, said, told, self.user)
        )
        task.start()
        answer = str(said.get(timeout=300))
        task.join(60)
        return answer

    def begin(self) -> None:
        """The undisturbed run, and what it needs [byte]."""
        whole = self.place / "whole"
        whole.mkdir()
        self.kind.prepare(whole)
        for path in (whole, *whole.rglob("*")):
            os.chown(path, self.user, self.user)
        answer = self.run(whole / "run")
        demand(answer == "", f"the undisturbed run failed: {answer}")
        files = [path for path in (whole / "run").rglob("*") if path.is_file()]
        pages = sum(-(-path.stat().st_size // 4096) + 1 for path in files)
        self.need = 4096 * pages

    def one(self, number: int) -> None:
        """A disk that is too small, three times, and then large enough."""
        place = self.place / f"{number:03d}"
        size = int(self.draw.uniform(LEAST, MOST) * self.need)
        with mounted(place / "disk", size, self.user):
            folder = place / "disk" / "run"
            for path in (self.place / "whole").iterdir():
                if path.name != "run":  # what the work reads lies on another disk
                    (place / "disk" / path.name).symlink_to(path)
            known = 0
            for _ in range(3):
                answer = self.run(folder)
                if answer == "":
                    self.late += 1
                    break
                demand("No space left on device" in answer, answer)
                demand(len(answer.splitlines()) == 1, answer)
                self.full += 1
                self.sizes.append(size)
                known = checked(self.kind, folder, self.place / "whole" / "run", known)
            larger(place / "disk")
            answer = self.run(folder)
            demand(answer == "" or "holds a run already" in answer, answer)
            self.kind.end(folder, self.place / "whole" / "run")


def main() -> int:
    """Fills disks, and says what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--disks", type=int, default=50, help="in all, over the kinds")
    parser.add_argument("--of", action="append", choices=OFTEN)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    server, bad = mp.get_context("forkserver"), 0
    server.set_forkserver_preload(PRELOADED)
    kinds = [kind for kind in KINDS if kind.name in (asked.of or OFTEN)]
    for kind in kinds:
        place = Path(tempfile.mkdtemp(prefix="disks-"))
        place.chmod(0o755)
        disks = Disks(kind, place, random.Random(f"{asked.seed}:{kind.name}"), server)
        said, number, begun = "", 0, 0
        try:
            disks.begin()
            for number in range(-(-asked.disks // len(kinds))):
                begun = number + 1
                disks.one(number)
        except (Lost, OSError, subprocess.SubprocessError) as error:
            said, bad = f"  disk {number}: {type(error).__name__}: {error}", bad + 1
        shutil.rmtree(place, ignore_errors=True)
        sys.stdout.write(
            f"{kind.name:12} {begun} disks, {disks.full} ends on a full one, {disks.late} "
            f"full at the very end or not at all; {disks.need:,} bytes needed{said}\n"
        )
        sys.stdout.flush()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
