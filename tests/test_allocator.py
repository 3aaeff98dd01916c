"""Who settles what becomes of freed memory: the programs do for themselves, the library never."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

#: Says at the end of a process, after `--version`, how many bytes of a new array of 16 MiB
#: glibc has asked the system for on their own: none where it keeps what is freed.
ASKS = """
import atexit, ctypes, sys

class Info(ctypes.Structure):
    _fields_ = [(f"field{i}", ctypes.c_size_t) for i in range(10)]

def mapped():
    known = ctypes.CDLL(None).mallinfo2
    known.restype = Info
    return known().field4  # hblkhd, malloc.h

@atexit.register
def tell():
    import numpy as np
    before = mapped()
    array = np.empty(16 << 20, dtype=np.uint8)
    print(mapped() - before)

sys.argv = ["program", "--version"]
"""

if not hasattr(ctypes.CDLL(None), "mallinfo2"):
    pytest.skip("not glibc 2.33 or later", allow_module_level=True)


def mapped(code: str) -> int:
    """Bytes of an array that are mapped on their own after some code."""
    words = [sys.executable, "-c", ASKS + code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


@pytest.mark.parametrize("name", ["elector", "transcode"])
def test_a_program_keeps_what_is_freed(name: str) -> None:
    assert mapped(f"from {name}.__main__ import program\nprogram()") == 0


def test_a_library_leaves_the_allocator_of_others_alone() -> None:
    """Whatever is imported: an array of this size is the system's again as soon as it is freed."""
    imported = "import transcode, elector.evaluation.path, transcode.search.workers\n"
    assert mapped(imported + "elector.simulate('bert-base', 'tpu-v4i')") >= 16 << 20
