"""Files that a space builds on, while it is searched: models and accelerators of the user's own."""

from __future__ import annotations

from collections.abc import Mapping

from elector.base import paths
from elector.base.errors import InputError
from transcode.space.description import file_digest


class WatchedFiles:
    """Whether files are still what a run says they were; every batch reads them anew."""

    def __init__(self, digests: Mapping[str, str]) -> None:
        """digests : name -> sha256 of its content, as the description of a space has them."""
        self.digests = digests
        self.stamps = {name: paths.stamp(name) for name in digests}

    def changed(self) -> str | None:
        """The first file whose content has changed, or that is gone; None where all are as they
        were. Only one whose size or time has changed is read."""
        for name, stamp in self.stamps.items():
            now = _stamp(name)
            if now == stamp:
                continue
            if now is None or file_digest(name) != self.digests[name]:
                return name
            self.stamps[name] = now
        return None


def _stamp(name: str) -> tuple[int, ...] | None:
    """What tells a file's content from another; None where it is gone or may not be looked at."""
    try:
        return paths.stamp(name) or None
    except InputError:
        return None
