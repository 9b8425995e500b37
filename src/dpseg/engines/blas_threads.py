"""One thread for numpy's small matrix products.

A BLAS library keeps threads of its own, which go on waiting for work after a product and meanwhile
hold the processors that the model's next pass needs. The products between passes are too small to
gain from threads; with one, a whole answer takes two thirds of the time.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from functools import cached_property
from threading import Lock
from typing import Any

from threadpoolctl import ThreadpoolController


class _OneBlasThread(ContextDecorator):
    """Hold numpy's BLAS to one thread while a call is inside, in whichever thread.

    The limit is the process's: the first call to enter sets it, the last to leave restores it.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._limit: Any = None

    @cached_property
    def _controller(self) -> ThreadpoolController:
        return ThreadpoolController()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limit = self._controller.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._limit.restore_original_limits()


#: `with one_blas_thread:`, or a decorator; it may be entered again, and from several threads.
one_blas_thread = _OneBlasThread()
