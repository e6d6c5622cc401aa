"""Numeric precision of a training step: autocast, and loss scaling where fp16 needs it."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from cpn.errors import UserError

T = TypeVar("T")

logger = logging.getLogger(__name__)

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
AUTO = "auto"


def computes_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; on a CPU AMX, AVX-512 or Arm's."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return any(features.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def inference_precision(name: str, device: torch.device) -> str:
    """What `auto` means where nothing is trained: half precision on a GPU, fp32 on a CPU.

    fp16 needs no loss scaling then, so a GPU that has no bf16 takes that; on a CPU the same numbers
    on every machine count more than speed.
    """
    if name != AUTO:
        return name
    if device.type != "cuda":
        return "fp32"
    return "bf16" if computes_bf16(device) else "fp16"


class Precision:
    """How forward, backward and the optimizer step are computed.

    Args:
        name: `fp32`, `bf16` (autocast), `fp16` (autocast with a gradient scaler, GPU only) or
            `auto`: bf16 where the device has instructions for it, else fp32.
        device: Where the module runs.

    Raises:
        UserError: an unknown name, or fp16 on a CPU.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        if name not in (AUTO, *PRECISIONS):
            raise UserError(f"precision={name!r} is not known; use {AUTO}, {', '.join(PRECISIONS)}")
        if name == "fp16" and device.type == "cpu":
            raise UserError(
                "precision=fp16 (engine.precision in train.py) needs a GPU; use fp32 on a CPU"
            )
        if name == AUTO:
            name = "bf16" if computes_bf16(device) else "fp32"
        elif name == "bf16" and not computes_bf16(device):
            logger.warning(
                "precision=bf16 is up to 40 times slower than fp32 on this %s, which has no "
                "instructions for it; precision=auto takes fp32 here",
                device.type.upper(),
            )
        self.name = name
        self.device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[Any]:
        """The context for a network's forward pass; losses and decoding stay outside."""
        if self.name == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=PRECISIONS[self.name])

    def autocast_calls(self, network: Callable[..., T]) -> Callable[..., T]:
        """`network`, each call of it under autocast."""

        def call(*inputs: Any) -> T:  # noqa: ANN401 - whatever the network takes
            with self.autocast():
                return network(*inputs)

        return call

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scalar `loss`, scaled when the precision is fp16."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def clip_gradients(self, optimizer: Optimizer, clip_norm: float | None) -> Tensor:
        """Unscale the gradients and clip their global norm.

        Returns:
            The norm before clipping, a scalar.
        """
        self._scaler.unscale_(optimizer)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if clip_norm is not None:
            clip_grads_with_norm_(parameters, clip_norm, norm)
        return norm

    def step(self, optimizer: Optimizer) -> None:
        """Step, except after an fp16 overflow; then forget the gradients."""
        self._scaler.step(optimizer)
        self._scaler.update()
        optimizer.zero_grad(set_to_none=True)

    def may_overflow(self) -> Tensor:
        """() bool on the device: whether a non-finite gradient is ordinary.

        fp16 skips that step and lowers its scale. Below a scale of 1 it is no overflow any more:
        the gradient itself is NaN or infinite, and all further steps would be skipped, too.
        """
        if not self._scaler.is_enabled():
            return torch.zeros((), dtype=torch.bool, device=self.device)
        return self._scaler.scale(torch.ones((), device=self.device)) >= 1

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state; empty without one."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`.

        Raises:
            UserError: a scaler's state is needed or given, but not both.
        """
        if self._scaler.is_enabled() != bool(state):
            raise UserError(
                f"the training state was not saved with engine.precision={self.name}; "
                "resume with the precision it was saved with"
            )
        if state:
            self._scaler.load_state_dict(state)
