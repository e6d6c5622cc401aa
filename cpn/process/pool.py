"""Processes that work for this one."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from cpn.process.interruption import die_with_parent


def process_pool(
    workers: int, *, prepare: Callable[[], object] | None = None
) -> ProcessPoolExecutor:
    """Fresh processes: forked ones would hang on what torch's or OpenCV's threads held just then.

    They die with this process, even if it is killed.

    Args:
        workers: how many.
        prepare: what each of them does first; can be pickled.
    """
    return ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(prepare,)
    )


def _start(prepare: Callable[[], object] | None) -> None:
    die_with_parent()
    if prepare is not None:
        prepare()
