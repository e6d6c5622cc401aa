"""What is trained: the interface between the loop and the task it trains for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from cpn.engine.inference import BatchT

Network = Callable[..., Any]  # the module, wrapped by DDP and autocast
Evaluate = Callable[[nn.Module, int], Mapping[str, float]]
BatchT_co = TypeVar("BatchT_co", covariant=True)


class LossLike(Protocol):
    """A scalar to minimise, and its named scalar parts (detached) for the log."""

    @property
    def total(self) -> Tensor: ...  # noqa: D102
    @property
    def parts(self) -> Mapping[str, Tensor]: ...  # noqa: D102


class Loader(Protocol[BatchT_co]):
    """What the trainer asks of a data loader."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[BatchT_co]: ...


@dataclass(frozen=True)
class TrainingTask(Generic[BatchT]):
    """What is trained; the trainer only knows how.

    Attributes:
        train_loader: This rank's batches of one epoch.
        set_epoch: Called before each epoch with its number, from 0, and the number of batches of it
            to leave out, which an earlier process has trained on.
        loss: `loss(network, batch)`; call the given network (it carries DDP and autocast) and take
            anything else, such as preprocessing, from the plain module.
        evaluate: `evaluate(module, epoch)` on every rank, in evaluation mode without gradients;
            rank 0's figures count.
        save_model: `save_model(module, metrics, is_best)` on rank 0 after every epoch; `metrics` is
            empty where the epoch was not evaluated.
        stop_requested: Whether this process was asked to stop; `evaluate` may then raise
            `EvaluationStopped`, on all ranks or on none.
        on_epoch_end: `on_epoch_end(module, epoch, step)` on every rank, as `evaluate`; for
            pictures.
    """

    train_loader: Loader[BatchT]
    set_epoch: Callable[[int, int], None]
    loss: Callable[[Network, BatchT], LossLike]
    evaluate: Evaluate | None = None
    save_model: Callable[[nn.Module, Mapping[str, float], bool], None] | None = None
    on_epoch_end: Callable[[nn.Module, int, int], None] | None = None
    stop_requested: Callable[[], bool] = bool
