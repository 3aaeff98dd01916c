"""What the documentation site needs beside docs/: pages of the root, and links that leave it.

The same files are read on a code host and in a checkout, where `../README.md` is a link; on the
site pages of the root stand beside the others, and a file of the code is its name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
#: File of the root -> page of the site.
PAGES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/search.md": "benchmarks-search.md",
    "benchmarks/gpu.md": "benchmarks-gpu.md",
    "benchmarks/acceltran.md": "benchmarks-acceltran.md",
    "benchmarks/hybrid.md": "benchmarks-hybrid.md",
    "results/README.md": "results-folder.md",
}
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages of the root."""
    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=moved(text, Path(source).parent)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links of a page of docs/ as the site has them."""
    if page.file.src_uri in PAGES.values():
        return markdown
    return moved(markdown, Path("docs"))


def moved(text: str, folder: Path) -> str:
    """A page's links, which stood in `folder` of the root, as they are beside one another."""

    def link(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return match[0]
        place = (ROOT / folder / target).resolve()
        if not place.is_relative_to(ROOT):
            return match["text"]
        name = place.relative_to(ROOT).as_posix()
        ending = f"#{anchor}" if anchor else ""
        if name in PAGES:
            return f"{match['image']}[{match['text']}]({PAGES[name]}{ending})"
        if name.startswith("docs/"):
            return f"{match['image']}[{match['text']}]({name.removeprefix('docs/')}{ending})"
        return f"`{name}`" if match["text"] in (name, place.name) else f"{match['text']} (`{name}`)"

    return LINK.sub(link, text)
