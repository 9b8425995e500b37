"""numpy's threads, as threadpoolctl sees them."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from dpseg.engines.blas_threads import one_blas_thread


def threads() -> set[int]:
    assert np.__version__  # numpy's BLAS is loaded
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_one_thread_inside_and_as_before_outside():
    with threadpool_limits(2, user_api="blas"):
        with one_blas_thread:
            assert threads() == {1}
            with one_blas_thread:  # another call, perhaps in another thread
                assert threads() == {1}
            assert threads() == {1}
        assert threads() == {2}


def test_an_error_leaves_it_as_before():
    @one_blas_thread
    def fail() -> None:
        assert threads() == {1}
        raise KeyError

    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(KeyError):
            fail()
        assert threads() == {2}
