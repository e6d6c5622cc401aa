"""The backbone: a pretrained or fresh convolutional network that gives C2..C5."""

from collections.abc import Sequence

from torch import Tensor, nn

from cpn.errors import UserError
from cpn.models.feature_body import ALL_LEVELS, FeatureBody, modules_through
from cpn.models.resnet import create_resnet
from cpn.models.timm_body import TIMM_PREFIX, create_timm_body


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
        frozen: list[nn.Module] = []
        if frozen_stages:
            frozen = modules_through(self.body, body.stage_ends[frozen_stages])
        for module in frozen:
            module.requires_grad_(requires_grad=False)
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

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """(N, 3, H, W) -> {level: (N, C_l, H / stride_l, W / stride_l)}, ascending."""
        return dict(zip(self.channels, self.body(images), strict=True))


def create_backbone(
    name: str,
    *,
    weights: str = "none",
    width: float = 1.0,
    frozen_stages: int = 0,
    levels: Sequence[int] = ALL_LEVELS,
) -> Backbone:
    """Builds a backbone by name.

    Args:
        name: resnet10, resnet18, resnet34, resnet50, resnet101, resnet152, or timm:<model>.
        weights: "none": He initialisation; "imagenet": torchvision's IMAGENET1K_V1, from which
            the published CPNs start, or timm's; otherwise a .pth or .safetensors file.
        width: factor on a ResNet's channels, for small networks; 1 with weights.
        frozen_stages: see `Backbone`.
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
    if name.startswith(TIMM_PREFIX):
        if width != 1:
            raise UserError(f"backbone.width applies to ResNets only, got {width} for {name}")
        body = create_timm_body(name.removeprefix(TIMM_PREFIX), weights=weights, levels=levels)
    else:
        body = create_resnet(name, weights=weights, width=width, levels=levels)
    return Backbone(body, frozen_stages=frozen_stages)
