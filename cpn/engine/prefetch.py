"""Batches on the device: on a GPU the next one is copied while the present one is computed."""

from collections.abc import Iterable, Iterator
from functools import cache

import torch

from cpn.engine.inference import BatchT


def on_device(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """Each batch on the device, in order.

    A GPU copies on a stream of its own, from page-locked memory, so one batch is asked for ahead.
    On a CPU nothing is: a loader's memory is lent for as few batches as are in use.
    """
    if device.type == "cuda":
        yield from _copied_ahead(batches, device)
        return
    for batch in batches:
        yield batch.to(device)


def _copied_ahead(batches: Iterable[BatchT], device: torch.device) -> Iterator[BatchT]:
    """Copies batch k + 1 between the steps k - 1 and k, as the host sees it.

    The copy waits for the step k - 1, whose batch may have left its memory to this one, and the
    step k for the copy before this one; so step k and copy k + 1 run at the same time.
    """
    copies = _copy_stream(device)
    ready: tuple[BatchT, torch.cuda.Event] | None = None
    for batch in batches:
        copies.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(copies):
            copied = batch.to(device, non_blocking=True), copies.record_event()
        if ready is not None:
            yield _awaited(ready, device)
        ready = copied
    if ready is not None:
        yield _awaited(ready, device)


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    """One for all epochs: torch keeps a pool of memory for every stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _awaited(ready: tuple[BatchT, torch.cuda.Event], device: torch.device) -> BatchT:
    batch, event = ready
    torch.cuda.current_stream(device).wait_event(event)
    return batch
