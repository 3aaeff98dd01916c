"""What the energy of each preset rests on: the table of docs/technology.md.

    python benchmarks/evidence.py [--write]

Of the reference run of each preset (`elector list technologies --weight PRESET`), the share of the
energy whose weakest row was read or agreed, and the share that is assumed or quoted once; and how
many rows of 1 % and more of energy or area were had in each way. --write puts it into the page. The
bars: at most 20 % assumed on TPU, GPU and systolic presets, 50 % on ReRAM.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from elector.studies.weights import weights

PAGE = Path(__file__).resolve().parent.parent / "docs" / "technology.md"
START, END = "<!-- evidence -->\n", "<!-- end of evidence -->"
PRESETS = (
    ("tpu-v1", 20), ("tpu-v2", 20), ("tpu-v3", 20), ("tpu-v4i", 20), ("systolic", 20),
    ("gpu", 20), ("v100-sxm-16gb", 20), ("t4-16gb", 20), ("a100-sxm-80gb", 20),
    ("h100-sxm-80gb", 20), ("b200-sxm-192gb", 20), ("reram", 50), ("isaac", 50), ("puma", 50),
    ("hpt", 50), ("reram+systolic", 50), ("acceltran-edge", 20), ("acceltran-server", 20),
)  # fmt: skip
WAYS = ("read", "agreed", "quoted", "assumed")
#: From which share of energy or area on a row counts.
LEAST = 0.01


def row(preset: str, bar: int) -> str:
    """A line of the table."""
    record = weights(preset)
    shares, rows = record["evidence"], record["rows"]
    assert isinstance(shares, dict) and isinstance(rows, list)
    large = [r for r in rows if max(abs(r["energy"]), abs(r["area"])) >= LEAST]
    counts = " | ".join(str(sum(r["read"] == way for r in large)) for way in WAYS)
    assumed = 100 * float(shares["assumed"])
    kept = "yes" if assumed <= bar else "no"
    return f"| {preset} | {record['model']} | {assumed:.1f} % | {bar} % | {kept} | {counts} |\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    text = "| preset | model | assumed or quoted once | bar | kept | rows read | agreed "
    text += "| quoted | assumed |\n"
    text += "|---|---|---|---|---|---|---|---|---|\n"
    text += "".join(row(*preset) for preset in PRESETS)
    print(text, end="")
    if write:
        page = PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(START)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{START}{text}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
