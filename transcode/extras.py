"""How optional libraries are installed, said in one place.

The name of this distribution in a package index belongs to nobody yet, and `transcode` to another
project: what brings an extra is the checkout, or the wheel that was built from one.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from elector import __version__

DISTRIBUTION = "transcode-elector"


def installing(extra: str) -> str:
    """The command that brings the libraries of an extra of pyproject.toml, such as train."""
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").is_file():
        return f"pip install -e '.[{extra}]'"
    return f"pip install '{_wheel()}[{extra}]'"


def _wheel() -> str:
    """The wheel this was installed from where pip noted it, else the name wheels of it have."""
    name = f"{DISTRIBUTION.replace('-', '_')}-{__version__}-py3-none-any.whl"
    try:
        noted = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        address = urlsplit(json.loads(noted or "{}").get("url", ""))
    except (metadata.PackageNotFoundError, ValueError):
        return name
    local = address.scheme == "file" and address.path.endswith(".whl")
    return unquote(address.path) if local else name
