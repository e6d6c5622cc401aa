"""What a feature extractor tells about itself, whichever library it comes from."""

from typing import NamedTuple

from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ALL_LEVELS = (2, 3, 4, 5)


class FeatureBody(NamedTuple):
    """A convolutional network whose forward gives one feature map per level, fine to coarse.

    Attributes:
        module: (N, 3, H, W) -> sequence of (N, C_l, H / stride_l, W / stride_l).
        channels: C_l by level, ascending; its keys are the levels that `module` returns.
        strides: input pixels per cell by level.
        stage_ends: name of the module that ends each stage; 1 is the stem, 2 what gives C2, ...
        mean, std: RGB statistics of its input, for pixels in 0..1.
        layer_ends: names of the modules that end each layer of layer-wise learning-rate decay,
            in order; none: the stages.
    """

    module: nn.Module
    channels: dict[int, int]
    strides: dict[int, int]
    stage_ends: dict[int, str]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    layer_ends: tuple[str, ...] = ()


def channels_first(features: Tensor) -> Tensor:
    """(N, H, W, C) -> (N, C, H, W)."""
    return features.permute(0, 3, 1, 2)


def modules_through(body: nn.Module, end: str) -> list[nn.Module]:
    """All modules up to and including the one named `end`, in the order of their registration.

    Modules that also hold later ones are left out. Dots and underscores in names count as the
    same, because timm's feature extractors rename "stages.0" to "stages_0".
    """
    modules = [(name.replace(".", "_"), module) for name, module in body.named_modules()]
    end = end.replace(".", "_")
    last = max(
        index
        for index, (name, _) in enumerate(modules)
        if name == end or name.startswith(f"{end}_")
    )
    later = [id(module) for _, module in modules[last + 1 :]]
    return [
        module
        for _, module in modules[: last + 1]
        if not any(id(inner) in later for inner in module.modules())
    ]
