"""Exponential moving average of a module's weights."""

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from cpn.errors import UserError


class ModelEma:
    """A second copy of a module that follows the trained one slowly.

    Update t uses the decay min(decay, (1 + t) / (10 + t)), so the first weights are soon forgotten.
    Buffers (BatchNorm statistics) are averages already: `copy_buffers` takes them over as they are,
    before the copy is used.

    Args:
        module: The trained module, not wrapped by DDP.
        decay: Share of the average that each update keeps, 0 <= decay < 1.

    Attributes:
        module: The averaged copy, in evaluation mode, without gradients.
        updates: How often `update` was called.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise UserError(f"engine.ema_decay={decay} is out of range; use 0 <= decay < 1 or null")
        self.module = deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    def update(self, module: nn.Module) -> None:
        """Move the averaged weights one step towards `module`'s."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(list(self.module.parameters()), [p.detach() for p in module.parameters()], 0)
        self.updates += 1

    @torch.no_grad()
    def copy_buffers(self, module: nn.Module) -> None:
        """Take over the buffers of `module` as they are."""
        for own, trained in zip(self.module.buffers(), module.buffers(), strict=True):
            own.copy_(trained)

    def state_dict(self) -> dict[str, Any]:
        """Weights and number of updates."""
        return {"module": dict(self.module.state_dict()), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.module.load_state_dict(state["module"])
        self.updates = int(state["updates"])
