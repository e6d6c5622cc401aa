"""What a training state holds: everything that the next step depends on, in plain types."""

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpn.engine.seeding import random_state, restore_random_state
from cpn.errors import UserError
from cpn.weights.state_dict import load_weights

if TYPE_CHECKING:
    from cpn.engine.trainer import Trainer

logger = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Epochs that were trained to their end.
        closed: Those of them that were evaluated and saved, too: all, or all but the last.
        step: Optimizer steps.
        best_value: Of the best evaluation so far.
        best_epoch: The number of epochs before it.
    """

    epoch: int = 0
    closed: int = 0
    step: int = 0
    best_value: float = -math.inf
    best_epoch: int | None = None


def capture(trainer: "Trainer[Any]") -> dict[str, Any]:
    """The state between two steps; to be called on every rank."""
    context = trainer.context
    return {
        "progress": asdict(trainer.progress),
        "module": dict(trainer.module.state_dict()),
        "optimizer": trainer.optimizer.state_dict(),
        "ema": trainer.ema.state_dict() if trainer.ema else None,
        "precision": trainer.precision.state_dict(),
        "precision_name": trainer.precision.name,
        "log_position": context.broadcast_object(trainer.tracker.position),
        "ranks": context.all_gather_object(
            {"random": random_state(), "meter": trainer.meter.state_dict()}
        ),
    }


def restore(trainer: "Trainer[Any]", state: dict[str, Any], *, source: Path) -> None:
    """Inverse of `capture`; the random states come last.

    Raises:
        UserError: It was saved by a different model or optimizer.
    """
    load_weights(trainer.module, state["module"], source=source)
    if (trainer.ema is None) != (state["ema"] is None):
        saved = "without" if state["ema"] is None else "with"
        raise UserError(
            f"{source} was saved {saved} an average of the weights, and engine.ema_decay="
            f"{trainer.settings.ema_decay}; resume with the setting it was saved with"
        )
    if trainer.ema:
        trainer.ema.load_state_dict(state["ema"])
    try:
        trainer.optimizer.load_state_dict(state["optimizer"])
    except ValueError as error:
        raise UserError(f"the optimizer of {source} is a different one: {error}") from error
    trainer.precision.load_state_dict(state["precision"])
    if state["precision_name"] != trainer.precision.name:
        logger.warning(
            "resumed with precision %s what ran with %s: the result is another than without the "
            "interruption; resume on a device like the one before to avoid it",
            trainer.precision.name,
            state["precision_name"],
        )
    trainer.progress = Progress(**state["progress"])
    trainer.log_position = state["log_position"]
    _restore_rank(trainer, state["ranks"])


def _restore_rank(trainer: "Trainer[Any]", states: list[dict[str, Any]]) -> None:
    context = trainer.context
    if len(states) != context.world_size:
        logger.warning(
            "resumed on %d ranks what ran on %d: dropout masks are drawn anew, and the next log "
            "line counts from here",
            context.world_size,
            len(states),
        )
        return
    own = states[context.rank]
    trainer.meter.load_state_dict(own["meter"], device=context.device)
    restore_random_state(own["random"])
