"""Linear algebra of samplers, on one thread.

Their matrices are small, and threads of a BLAS wait for one another, and for the next call, by
spinning. Where somebody else wants the processors, as the workers of a search do, a fit that
takes 14 ms on one thread took 300 on two.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from typing import Any


def one_thread() -> AbstractContextManager[object]:
    """Keeps whatever BLAS numpy has to one thread until the end of a `with`."""
    limit: AbstractContextManager[object] = _blas().limit(limits=1)
    return limit


@functools.cache
def _blas() -> Any:
    """The BLAS libraries of this process; numpy's is there before the first matrix is."""
    from threadpoolctl import ThreadpoolController  # only a search needs it

    return ThreadpoolController().select(user_api="blas")
