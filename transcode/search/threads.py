"""Linear algebra of samplers, on one thread.

Their matrices are small, and threads of a BLAS wait for one another, and for the next call, by
spinning. Where somebody else wants the processors, as the workers of a search do, a fit that
takes 14 ms on one thread took 300 on two.
"""

from __future__ import annotations

from contextlib import AbstractContextManager


def one_thread() -> AbstractContextManager[object]:
    """Keeps every BLAS that is loaded by now to one thread until the end of a `with`."""
    from threadpoolctl import threadpool_limits  # only a search needs it

    limit: AbstractContextManager[object] = threadpool_limits(limits=1, user_api="blas")
    return limit
