"""The data package of kernel timings: fetched into a cache, checked, refused where it is another.

    python benchmarks/timings_package.py             # fetches it from what pip is set up for: 82 MB

gpu_timings.py, fit_gpu_products.py and published_rows.py read aiconfigurator-core 0.12.0
(Apache-2.0) from that cache (`transcode` in XDG_CACHE_HOME, or in ~/.cache), or from a folder that
is given: the `aiconfigurator_core` of an unpacked wheel. Nothing of it lies in this repository.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

NAME, VERSION, FOLDER = "aiconfigurator-core", "0.12.0", "aiconfigurator_core"
#: A file that every version has, and what it is in this one.
MARK = Path("systems") / "silicon_sample.csv"
DIGEST = "4240bfaf555b6f8b2c62512074e5efbb7791cdbb0344b068408f397588499adb"
FETCH = "`python benchmarks/timings_package.py` fetches it"
#: Files of the reference folder that the scripts read.
REFERENCE = ("gpu_measured.csv", "gpu_gemm_a100.csv", "gpu_ops_llmcompass.csv", "gpu_power.csv")


def cache() -> Path:
    """Where the package is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "transcode" / f"{NAME}-{VERSION}" / FOLDER


def package(given: str | Path) -> Path:
    """The folder of the package, for `argparse`: refused where it is absent or of another version.

    given : `aiconfigurator_core` of an unpacked wheel.
    """
    folder = Path(given)
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"{folder}: no such folder; {FETCH}")
    mark = folder / MARK
    if not mark.is_file():
        raise argparse.ArgumentTypeError(f"{folder}: has no {MARK}: no {NAME}; {FETCH}")
    if hashlib.sha256(mark.read_bytes()).hexdigest() != DIGEST:
        said = f"is version {_version(folder)}, {VERSION} is needed"
        raise argparse.ArgumentTypeError(f"{folder}: {said}; {FETCH}")
    if not (folder / "systems" / "data").is_dir():
        raise argparse.ArgumentTypeError(f"{folder}: has no systems/data; {FETCH}")
    return folder


def reference(given: str) -> Path:
    """The folder of reference tables, for `argparse`: refused where a file is missing.

    given : a folder.
    """
    missing = [name for name in REFERENCE if not (Path(given) / name).is_file()]
    if missing:
        raise argparse.ArgumentTypeError(f"{given}: has no {', '.join(missing)}")
    return Path(given)


def _version(folder: Path) -> str:
    """What the wheel says that it is."""
    versions = [p.name.split("-")[1] for p in folder.parent.glob(f"{FOLDER}-*.dist-info")]
    known = [v.removesuffix(".dist") for v in versions if v != VERSION]
    return known[0] if known else f"none of {NAME} {VERSION}"


def fetch(folder: Path) -> Path:
    """The package, from what pip is set up for, in `folder`; checked before it stands there."""
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent.parent) as own:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", own]
        done = subprocess.run([*command, f"{NAME}=={VERSION}"], text=True, capture_output=True)
        wheels = list(Path(own).glob("*.whl"))
        if done.returncode or not wheels:
            lines = done.stderr.strip().splitlines() or ["pip gave no wheel"]
            sys.exit(f"{NAME} {VERSION} could not be fetched: {lines[-1]}")
        unpacked = Path(own) / "unpacked"
        with zipfile.ZipFile(wheels[0]) as wheel:
            wheel.extractall(unpacked)
        package(unpacked / FOLDER)
        unpacked.rename(folder.parent)
    return folder


def main() -> None:
    """Fetch the package, unless it is there."""
    argparse.ArgumentParser(description="fetch the timings of kernels").parse_args()
    folder = cache()
    try:
        print(package(folder if folder.is_dir() else fetch(folder)))
    except argparse.ArgumentTypeError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
