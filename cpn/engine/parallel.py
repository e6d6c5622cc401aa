"""A module made ready for its device and its peers."""

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from cpn.engine.distributed import DistributedContext
from cpn.engine.settings import TrainerSettings
from cpn.errors import UserError


def prepare_module(
    module: nn.Module, settings: TrainerSettings, context: DistributedContext
) -> nn.Module:
    """Move `module` to its device and memory format; share BatchNorm statistics if asked.

    Parameters stay the same objects, so an optimizer may exist already.

    Raises:
        UserError: SyncBatchNorm without a GPU or without a second rank.
    """
    module = module.to(context.device)
    if settings.channels_last:
        module = module.to(memory_format=torch.channels_last)
    if not settings.sync_batch_norm:
        return module
    if context.device.type != "cuda" or not context.is_distributed:
        raise UserError(
            "engine.sync_batch_norm=true needs GPUs and more than one rank (here: "
            f"{context.world_size} on {context.device.type}); use engine.sync_batch_norm=false"
        )
    shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return shared


def wrap_ddp(module: nn.Module, context: DistributedContext) -> DistributedDataParallel | None:
    """`module` with gradients averaged over the ranks; None with a single one.

    Buffers are rank 0's at the start of every forward pass, and differ after it where the module
    changed them: `DistributedContext.average_batch_norm` makes BatchNorm's equal again.
    """
    if not context.is_distributed:
        return None
    return DistributedDataParallel(
        module,
        device_ids=[context.device] if context.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )


def set_training_mode(module: nn.Module, *, freeze_batch_norm: bool) -> None:
    """Training mode; frozen BatchNorm layers normalise by their running statistics instead.

    Their affine weights are trained all the same.
    """
    module.train()
    if freeze_batch_norm:
        for layer in module.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
