"""The backbone: a pretrained or fresh convolutional network that gives C2..C5."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cpn.errors import UserError, first_line
from cpn.models.feature_body import ALL_LEVELS, FeatureBody, modules_through
from cpn.models.resnet import create_resnet
from cpn.models.timm_body import TIMM_PREFIX, create_timm_body
from cpn.models.torchvision_body import TORCHVISION_PREFIX, create_torchvision_body


class Backbone(nn.Module):
    """Feature maps by level, with stages that can be frozen.

    A frozen stage gets no gradient, and its BatchNorm keeps its statistics also after `.train()`.

    Args:
        body: the network and what it tells about itself.
        frozen_stages: 0: none, 1: the stem, 2: stem and what gives C2, ... 5: everything.

    Attributes:
        channels: of each level, e.g. {2: 256, 3: 512, 4: 1024, 5: 2048}.
        strides: input pixels per cell of each level, e.g. {2: 4, 3: 8, 4: 16, 5: 32}.
        mean, std: RGB statistics of the input, for pixels in 0..1.

    Raises:
        UserError: the body has no such stage.
    """

    def __init__(self, body: FeatureBody, *, frozen_stages: int = 0) -> None:
        super().__init__()
        allowed = (0, *sorted(body.stage_ends))
        if frozen_stages not in allowed:
            raise UserError(
                f"backbone.frozen_stages must be one of {list(allowed)} for this backbone and its "
                f"levels {list(body.channels)}, got {frozen_stages}"
            )
        self.body = body.module
        self.channels = dict(body.channels)
        self.strides = dict(body.strides)
        self.mean = body.mean
        self.std = body.std
        self._layer_ends = body.layer_ends or tuple(
            body.stage_ends[level] for level in sorted(body.stage_ends)
        )
        frozen: list[nn.Module] = []
        if frozen_stages:
            frozen = modules_through(self.body, body.stage_ends[frozen_stages])
        for module in frozen:
            module.requires_grad_(requires_grad=False)
        # A transformer's position embeddings belong to no part of it, but to its stem.
        for holder in set(self.body.modules()) - set(frozen) if frozen else ():
            if not set(frozen).isdisjoint(holder.modules()):
                for parameter in holder.parameters(recurse=False):
                    parameter.requires_grad = False
        # By name: SyncBatchNorm's conversion puts other modules in their places.
        names = {module: name for name, module in self.body.named_modules()}
        self._frozen = tuple(names[module] for module in frozen)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Backbone":
        """Sets training mode everywhere but in the frozen stages."""
        super().train(mode)
        for name in self._frozen:
            self.body.get_submodule(name).training = False
        return self

    def layers_to_end(self) -> dict[str, int]:
        """How many layers lie between each parameter and the rest of the network, by its name.

        1 in the last layer; 0 is after it. What is in no layer counts to the first.
        """
        found: dict[str, int] = {}
        total = len(self._layer_ends)
        names = {parameter: name for name, parameter in self.named_parameters()}
        for index, end in enumerate(self._layer_ends):
            for module in modules_through(self.body, end):
                for parameter in module.parameters():
                    found.setdefault(names[parameter], total - index)
        last = max(index for index, name in enumerate(names.values()) if name in found)
        for index, name in enumerate(names.values()):
            found.setdefault(name, 0 if index > last else total)
        return found

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """(N, 3, H, W) -> {level: (N, C_l, H / stride_l, W / stride_l)}, ascending."""
        return dict(zip(self.channels, self.body(images), strict=True))


def check_input(backbone: Backbone, name: str, size_hw: tuple[int, int]) -> None:
    """Tries an empty picture: some networks of other libraries take one size of input only.

    Args:
        backbone: is left as it is.
        name: of the backbone, for the message.
        size_hw: of the input.

    Raises:
        UserError: it cannot be taken, or gives feature maps of other sizes than its strides say.
    """
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, *size_hw))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"backbone {name} takes no input of {size_hw[0]}x{size_hw[1]} ({first_line(error)}); "
            "change input.size_hw, or choose another backbone"
        ) from error
    finally:
        backbone.train(was_training)
    found = {level: tuple(feature.shape[-2:]) for level, feature in features.items()}
    right = {
        level: tuple(-(-side // stride) for side in size_hw)
        for level, stride in backbone.strides.items()
    }
    if found != right:
        raise UserError(
            f"backbone {name} gives maps of {found} cells by level for an input of "
            f"{size_hw[0]}x{size_hw[1]}, its strides say {right}; choose another"
        )


def create_backbone(
    name: str,
    *,
    weights: str = "none",
    width: float = 1.0,
    frozen_stages: int = 0,
    drop_path: float = 0.0,
    levels: Sequence[int] = ALL_LEVELS,
) -> Backbone:
    """Builds a backbone by name.

    Args:
        name: resnet10, resnet18, resnet34, resnet50, resnet101, resnet152, torchvision:<model> or
            timm:<model>.
        weights: "none": He initialisation; "imagenet": torchvision's IMAGENET1K_V1, from which
            the published CPNs start, or timm's; otherwise a .pth or .safetensors file.
        width: factor on a ResNet's channels, for small networks; 1 with weights.
        frozen_stages: see `Backbone`.
        drop_path: stochastic depth, where the network has it.
        levels: which of C2..C5 are wanted, ascending; deeper stages are left out.

    Raises:
        UserError: unknown name, weights that cannot be had or do not fit, levels or stages that
            the network has not, timm not installed.
        FileNotFoundError: the weights file does not exist.
    """
    if not levels or list(levels) != sorted(set(levels)) or not set(levels) <= set(ALL_LEVELS):
        raise UserError(
            f"backbone levels must be an ascending, non-empty subset of {list(ALL_LEVELS)}, "
            f"got {list(levels)}"
        )
    if width <= 0:
        raise UserError(f"backbone.width must be above 0, got {width}")
    if ":" in name and width != 1:
        raise UserError(f"backbone.width applies to resnet<depth> only, got {width} for {name}")
    if name.startswith(TIMM_PREFIX):
        body = create_timm_body(
            name.removeprefix(TIMM_PREFIX), weights=weights, levels=levels, drop_path=drop_path
        )
    elif name.startswith(TORCHVISION_PREFIX):
        body = create_torchvision_body(
            name.removeprefix(TORCHVISION_PREFIX),
            weights=weights,
            levels=levels,
            drop_path=drop_path,
        )
    elif drop_path:
        raise UserError(f"backbone.drop_path={drop_path:g}: {name} has none: 0")
    else:
        body = create_resnet(name, weights=weights, width=width, levels=levels)
    return Backbone(body, frozen_stages=frozen_stages)
