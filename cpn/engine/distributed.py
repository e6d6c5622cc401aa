"""One process or many: every helper also works with no process group.

`torchrun` sets RANK, WORLD_SIZE and LOCAL_RANK; without them (or with one rank) nothing listens on
any port and no process group exists.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cpn.engine.roll_call import silent_peers
from cpn.errors import UserError, first_line
from cpn.process.interruption import die_with_parent

T = TypeVar("T")

# In what gloo and its stores raise, which has no type of its own; not all of it says "gloo".
_OF_GLOO = ("gloo", "Application timeout", "Timed out waiting", "Wait timeout", "by peer")


class LostPeerError(UserError):
    """Another rank died, or did not answer in time."""


@dataclass(frozen=True)
class DistributedContext:
    """This process's place among its peers; the default is one process on the CPU."""

    rank: int = 0
    world_size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, the one that writes files."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there is more than one rank."""
        return self.world_size > 1

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.is_distributed:
            dist.barrier()

    def all_gather_object(self, value: T) -> list[T]:
        """Every rank's `value` in rank order, on every rank (pickled: trusted peers only)."""
        if not self.is_distributed:
            return [value]
        gathered: list[T | None] = [None] * self.world_size
        dist.all_gather_object(gathered, value)
        return cast("list[T]", gathered)

    def broadcast_object(self, value: T) -> T:
        """Rank 0's `value`, on every rank."""
        if not self.is_distributed:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def reduce_mean(self, value: Tensor) -> Tensor:
        """The mean of a float tensor over the ranks."""
        if not self.is_distributed:
            return value
        total = value.clone()
        dist.all_reduce(total, op=dist.ReduceOp.SUM)
        return total / self.world_size

    def any(self, flags: Tensor) -> Tensor:
        """Whether each of the (N,) bool `flags` holds on any rank; all ranks have the same.

        It stays on the device: nothing waits for it here.
        """
        if not self.is_distributed:
            return flags
        total = flags.to(device=self.device, dtype=torch.int32)
        dist.all_reduce(total, op=dist.ReduceOp.MAX)
        return total > 0

    @contextmanager
    def named_loss_of_peers(self, place: Callable[[], str]) -> Iterator[None]:
        """Inside, a peer that died or hangs is a `LostPeerError` which says where this rank was.

        Args:
            place: Where that is, such as "step 7".
        """
        try:
            yield
        except RuntimeError as error:
            if not self.is_distributed or not _is_of_communication(error):
                raise
            lost = _named(silent_peers(self.rank, self.world_size))
            raise LostPeerError(
                f"rank {self.rank} lost {lost} at {place()} ({_reason(error)}), whose "
                "output says why; the same command with run.if_exists=resume goes on"
            ) from error

    @torch.no_grad()
    def average_batch_norm(self, module: nn.Module) -> None:
        """Give every rank the mean of the ranks' BatchNorm running statistics."""
        for layer in module.modules():
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None:
                assert layer.running_var is not None
                layer.running_mean.copy_(self.reduce_mean(layer.running_mean))
                layer.running_var.copy_(self.reduce_mean(layer.running_var))


def _is_of_communication(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(text in str(error) for text in _OF_GLOO)


def _named(ranks: list[int]) -> str:
    if not ranks:
        return "another rank"
    return f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"


def _reason(error: Exception) -> str:
    """What gloo says, without its own file and its good wishes."""
    text = first_line(error).partition(" This is typically")[0]
    return re.sub(r"^\[\S+\] ", "", text).rstrip(".")


def select_device(name: str, local_rank: int = 0) -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; on CUDA each local rank has its own.

    Raises:
        UserError: an unknown name, no GPU, or more local ranks than GPUs.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device={name!r} is not known; use auto, cpu or cuda")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UserError(
            "device=cuda (engine.device in train.py), but torch sees no CUDA GPU; use cpu or auto"
        )
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"local rank {local_rank} has no GPU: torch sees {torch.cuda.device_count()}; "
            "start at most that many processes per node (torchrun --nproc-per-node)"
        )
    return torch.device("cuda", local_rank)


@contextmanager
def distributed_context(
    device: str = "auto", *, timeout_seconds: float = 600.0, init_method: str = "env://"
) -> Iterator[DistributedContext]:
    """Join the group that torchrun describes (gloo on CPU, nccl on GPU), or run alone.

    Inside, every rank but the first is silent below warnings: what it would say, rank 0 says.

    Args:
        device: `auto`, `cpu` or `cuda`.
        timeout_seconds: How long a collective may wait for a peer before it fails.
        init_method: Rendezvous address; `file:///path` needs no port.

    Raises:
        LostPeerError: A peer does not come, dies, or does not answer in time.
    """
    rank, world_size, local_rank = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    )
    own_device = select_device(device, local_rank)
    if own_device.type == "cuda":
        torch.cuda.set_device(own_device)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent()  # else workers of a killed torchrun would train on
    if world_size == 1:
        yield DistributedContext(device=own_device)
        return
    context = DistributedContext(rank, world_size, own_device)
    with context.named_loss_of_peers(lambda: "the start"):
        dist.init_process_group(
            "nccl" if own_device.type == "cuda" else "gloo",
            init_method=init_method,
            rank=rank,
            world_size=world_size,
            timeout=timedelta(seconds=timeout_seconds),
        )
    try:
        with (
            _log_level(logging.INFO if rank == 0 else logging.WARNING),
            context.named_loss_of_peers(lambda: "work between the steps"),
        ):
            yield context
    finally:
        dist.destroy_process_group()


@contextmanager
def _log_level(level: int) -> Iterator[None]:
    """This project's log messages are shown from `level` on."""
    messages = logging.getLogger("cpn")
    before = messages.level
    messages.setLevel(max(level, before))
    try:
        yield
    finally:
        messages.setLevel(before)
