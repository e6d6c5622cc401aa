"""Optimizers with parameter groups, and learning rates as a pure function of the step."""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from cpn.errors import UserError


def build_optimizer(
    module: nn.Module,
    *,
    name: str,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    lr_factors: Mapping[str, float] | None = None,
) -> Optimizer:
    """An optimizer over the trainable parameters; move the module to its device first.

    Norm weights and biases (every parameter with at most one dimension) get no weight decay.

    Args:
        module: What is trained; parameters without `requires_grad` are left out.
        name: `adamw`, `adam` (L2 penalty instead of decoupled decay) or `sgd`.
        lr: Peak learning rate, > 0.
        weight_decay: >= 0.
        momentum: For sgd only.
        betas: For adam and adamw only.
        lr_factors: on `lr`, >= 0, by parameter name; those that are not named learn at `lr`.

    Raises:
        UserError: an unknown name, or nothing to train.
    """
    groups: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": lr if factor is None else lr * factor,
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (factor, decays), parameters in _grouped(module, lr_factors or {}).items()
    ]
    if not groups:
        raise UserError("no parameter is trainable: unfreeze a part of the model (frozen_stages)")
    devices = {p.device.type for group in groups for p in group["params"]}
    # One kernel for all parameters; on a CPU a fifth of the time of AdamW's loop over them.
    fused = devices <= {"cpu", "cuda"} or None
    if name == "adamw":
        return AdamW(groups, betas=betas, fused=fused)
    if name == "adam":
        return Adam(groups, betas=betas, fused=fused)
    if name == "sgd":
        return SGD(groups, momentum=momentum, fused=fused)
    raise UserError(f"optimizer.name={name!r} is not known; use adamw, adam or sgd")


def _grouped(
    module: nn.Module, lr_factors: Mapping[str, float]
) -> dict[tuple[float | None, bool], list[nn.Parameter]]:
    """What is trained, by the factor on its learning rate and whether it has weight decay."""
    members: dict[tuple[float | None, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = (lr_factors.get(name), parameter.ndim > 1)
            members.setdefault(key, []).append(parameter)
    return members


class LearningRateScheduler:
    """Sets every group's learning rate to its initial one times `factor(step)`.

    The rate depends on the step alone, so there is no state to save: resuming is `set_step`.

    Args:
        optimizer: Its groups' present learning rates are the initial ones.
        factor: Multiplier for optimizer step 0, 1, 2, …
    """

    def __init__(self, optimizer: Optimizer, factor: Callable[[int], float]) -> None:
        self.optimizer = optimizer
        self.factor = factor
        self.initial_rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.set_step(0)

    def set_step(self, step: int) -> None:
        """Prepare the optimizer for its step number `step` (0 is the first)."""
        for group, rate in zip(self.optimizer.param_groups, self.initial_rates, strict=True):
            group["lr"] = rate * self.factor(step)

    @property
    def learning_rate(self) -> float:
        """The present rate, of the fastest group."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)


def build_scheduler(
    optimizer: Optimizer,
    *,
    name: str,
    total_steps: int,
    warmup_steps: int = 0,
    warmup_ratio: float = 0.001,
    milestones_steps: Sequence[int] = (),
    gamma: float = 0.1,
    final_ratio: float = 0.0,
) -> LearningRateScheduler:
    """A schedule by optimizer step, after a linear warm-up from `warmup_ratio` to 1.

    Args:
        optimizer: Whose groups are scheduled.
        name: `cosine` (half a period, from 1 after warm-up to `final_ratio` at `total_steps`),
            `step` (times `gamma` at each milestone) or `constant`.
        total_steps: Optimizer steps of the whole run.
        warmup_steps: Steps until the full rate is reached, 0 for none.
        warmup_ratio: Factor of the first warm-up step.
        milestones_steps: Ascending steps at which `step` drops the rate.
        gamma: Factor of one drop.
        final_ratio: Where `cosine` ends.

    Raises:
        UserError: an unknown name, milestones out of order, or a warm-up longer than the run.
    """
    if warmup_steps > total_steps:
        raise UserError(
            f"schedule: the warm-up takes {warmup_steps} steps, but the run has only {total_steps}"
        )
    if list(milestones_steps) != sorted(set(milestones_steps)):
        raise UserError(f"schedule.milestones must ascend, not {list(milestones_steps)}")

    def cosine(step: int) -> float:
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final_ratio + (1 - final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))

    shapes: dict[str, Callable[[int], float]] = {
        "cosine": cosine,
        "step": lambda step: gamma ** bisect_right(milestones_steps, step),
        "constant": lambda _: 1.0,
    }
    if name not in shapes:
        raise UserError(f"schedule.name={name!r} is not known; use {', '.join(shapes)}")

    def factor(step: int) -> float:
        if step < warmup_steps:
            return warmup_ratio + (1 - warmup_ratio) * step / warmup_steps
        return shapes[name](step)

    return LearningRateScheduler(optimizer, factor)
