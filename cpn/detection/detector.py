"""A person detector's network: our backbone and pyramid with torchvision's heads."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cpn.models.backbone import Backbone
from cpn.models.layers import level_name
from cpn.models.pyramid import FeaturePyramid

Targets = Sequence[Mapping[str, Tensor]]


@dataclass(frozen=True)
class InferenceDesign:
    """How a trained detector looks at a photo, and what it keeps of what it finds.

    Attributes:
        min_size: the shorter side becomes so many pixels,
        max_size: unless the longer one became more than that.
        score_threshold: what is less sure is dropped.
        nms_threshold: IoU from which the less sure of two is dropped.
        max_detections: of one photo.
    """

    min_size: int = 800
    max_size: int = 1333
    score_threshold: float = 0.05
    nms_threshold: float = 0.5
    max_detections: int = 100


class PyramidFeatures:
    """What torchvision's heads call their backbone: images in, named pyramid levels out.

    It owns nothing. Were it a module, backbone and pyramid would be registered a second time, and
    the pyramid's parameters would count as the backbone's.

    Attributes:
        out_channels: of every level.
        strides: pixels per cell by level, ascending, with the extra levels.
        lateral_strides: without them.
        mean, std: of the backbone's input.
    """

    def __init__(self, backbone: Backbone, pyramid: FeaturePyramid) -> None:
        self.backbone = backbone
        self.pyramid = pyramid
        self.out_channels = pyramid.channels
        self.strides = pyramid.strides
        self.lateral_strides = {k: pyramid.strides[k] for k in pyramid.lateral_levels}
        self.mean, self.std = list(backbone.mean), list(backbone.std)

    def __call__(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(N, 3, H, W), normalised -> {"p2": (N, C, H / 4, W / 4), ...}, ascending."""
        levels = self.pyramid(self.backbone(images))
        return OrderedDict((level_name(level), feature) for level, feature in levels.items())

    def transform_options(self, design: InferenceDesign) -> dict[str, Any]:
        """For torchvision's GeneralizedRCNNTransform.

        In training it leaves sizes alone, which the loader has chosen. Images are padded to the
        coarsest stride of the backbone (32), as torchvision does.
        """
        return {
            "min_size": design.min_size,
            "max_size": design.max_size,
            "image_mean": self.mean,
            "image_std": self.std,
            "size_divisible": max(self.lateral_strides.values()),
            "_skip_resize": True,
        }


class Detector(nn.Module):
    """Backbone, pyramid and heads with torchvision's detection interface.

    Args:
        backbone: gives C2..C5.
        pyramid: on it.
        make_heads: a torchvision detection network on given features.
    """

    heads: Any  # RetinaNet or FasterRCNN: torchvision has no types

    def __init__(
        self,
        backbone: Backbone,
        pyramid: FeaturePyramid,
        make_heads: Callable[[PyramidFeatures], nn.Module],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.heads = make_heads(PyramidFeatures(backbone, pyramid))

    def forward(
        self, images: Sequence[Tensor], targets: Targets | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Losses by name in training, detections of each image in evaluation.

        Args:
            images: (3, H_i, W_i) each, RGB in 0..1, of any sizes. In training they are used as they
                are; in evaluation they are brought to `min_size` and `max_size`.
            targets: in training, of each image: `boxes` (P, 4) xyxy in its pixels and `labels` (P,)
                int64, 1 for a person; `masks` (P, H_i, W_i) uint8 and `keypoints` (P, K, 3) where
                there are heads for them.

        Returns:
            In evaluation `boxes` (D, 4) in the pixels of the image given, `scores` and `labels`
            (D,), best first; `masks` (D, 1, H_i, W_i) in 0..1 and `keypoints` (D, K, 3) where there
            are heads for them.
        """
        found: dict[str, Tensor] | list[dict[str, Tensor]] = self.heads(list(images), targets)
        return found


def answers_in_float32(head: nn.Module) -> nn.Module:
    """The same head, whose outputs are float32 also under autocast.

    Boxes are decoded in the type of what the head says, and pixels do not fit into bfloat16.
    """
    head.register_forward_hook(_to_float32)
    return head


def _to_float32(_module: nn.Module, _inputs: object, output: Any) -> Any:  # noqa: ANN401 - any tree
    if isinstance(output, Tensor):
        return output.float().contiguous()  # torchvision's keypoint loss takes a view
    if isinstance(output, Mapping):
        return {name: value.float().contiguous() for name, value in output.items()}
    return type(output)(_to_float32(_module, _inputs, value) for value in output)
