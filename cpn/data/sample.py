"""What a worker sends (uint8 crops and points) and how samples become a batch."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpn.data.photometrics import NO_HOLES, SAME_COLOUR


class PoseSample(NamedTuple):
    """One person, cropped.

    Attributes:
        crop: (H, W, 3) uint8 RGB.
        points: (K, 2) float32, crop frame.
        visibility: (K,) int64, COCO's v; in training 0 outside the crop.
        image_to_crop: (2, 3) float64, see `cpn.geometry.crop`.
        instance_id: the annotation's id.
        image_id: the image's id.
        box_score: of the person's box.
        box_area: width * height of the person's box in image pixels, before it is grown.
        colour: (3, 4) float32, to be applied to the crop; see `apply_photometrics`.
        holes: (MAX_HOLES, 4) int32, to be blanked.
    """

    crop: npt.NDArray[np.uint8]
    points: npt.NDArray[np.float32]
    visibility: npt.NDArray[np.int64]
    image_to_crop: npt.NDArray[np.float64]
    instance_id: int
    image_id: int
    box_score: float
    box_area: float
    colour: npt.NDArray[np.float32] = SAME_COLOUR
    holes: npt.NDArray[np.int32] = NO_HOLES


class PoseBatch(NamedTuple):
    """N persons.

    Attributes:
        crops: (N, 3, H, W) uint8 RGB, channels_last in memory.
        points: (N, K, 2) float32, crop frame.
        visibility: (N, K) int64.
        image_to_crop: (N, 2, 3) float64.
        instance_ids: (N,) int64.
        image_ids: (N,) int64.
        box_scores: (N,) float64.
        box_areas: (N,) float64, image pixels.
        colours: (N, 3, 4) float32, not yet applied to the crops; see `apply_photometrics`.
        holes: (N, MAX_HOLES, 4) int32, not yet blanked.
    """

    crops: Tensor
    points: Tensor
    visibility: Tensor
    image_to_crop: Tensor
    instance_ids: Tensor
    image_ids: Tensor
    box_scores: Tensor
    box_areas: Tensor
    colours: Tensor
    holes: Tensor

    @property
    def num_samples(self) -> int:
        """N; `len()` of a batch is its number of fields."""
        return len(self.crops)

    def pin_memory(self) -> Self:
        """A copy in page-locked memory, which torch keeps and uses again."""
        return type(self)(*(field.pin_memory() for field in self))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """The batch on a device. Ids, scores and matrices move too; they are a few bytes."""
        return type(self)(*(field.to(device, non_blocking=non_blocking) for field in self))


def collate_samples(samples: Sequence[PoseSample], *, crops: Tensor | None = None) -> PoseBatch:
    """Makes one or more samples of one crop size and one skeleton a batch.

    Args:
        samples: N of them.
        crops: (N, H, W, 3) uint8 that holds their crops already; None: they are copied.
    """
    if crops is None:
        crops = torch.from_numpy(np.stack([sample.crop for sample in samples]))
    return PoseBatch(
        crops=crops.permute(0, 3, 1, 2),
        points=torch.from_numpy(np.stack([sample.points for sample in samples])),
        visibility=torch.from_numpy(np.stack([sample.visibility for sample in samples])),
        image_to_crop=torch.from_numpy(np.stack([sample.image_to_crop for sample in samples])),
        instance_ids=torch.tensor([sample.instance_id for sample in samples]),
        image_ids=torch.tensor([sample.image_id for sample in samples]),
        box_scores=torch.tensor([sample.box_score for sample in samples], dtype=torch.float64),
        box_areas=torch.tensor([sample.box_area for sample in samples], dtype=torch.float64),
        colours=torch.from_numpy(np.stack([sample.colour for sample in samples])),
        holes=torch.from_numpy(np.stack([sample.holes for sample in samples])),
    )
