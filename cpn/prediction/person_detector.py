"""A trained detector at work: photos in, person boxes out."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cpn.build_detector import load_detector
from cpn.data.photo_batches import PERSON_LABEL
from cpn.detection.detections import Detections, as_detections
from cpn.detection.detector import Detector
from cpn.detection.people_only import look_for_one_class
from cpn.engine.distributed import select_device
from cpn.engine.precision import Precision
from cpn.geometry.box_nms import soft_box_nms

Uint8Array = npt.NDArray[np.uint8]
# What soft suppression looks at, for each box that may stay.
CANDIDATES_PER_BOX = 4
# Pixels; boxes at a photo's edge may have nothing left inside it.
MIN_EXTENT = 1e-2


class Look(NamedTuple):
    """How photos are looked at; None: as the detector's file says.

    Attributes:
        min_size: their shorter side in pixels,
        max_size: unless the longer one became more than that.
        nms_threshold: IoU from which the network drops the less sure of two boxes.
    """

    min_size: int | None = None
    max_size: int | None = None
    nms_threshold: float | None = None


@dataclass(frozen=True)
class SoftSuppression:
    """Soft-NMS in place of the network's own; see `soft_box_nms`."""

    method: Literal["linear", "gaussian"] = "gaussian"
    threshold: float = 0.5
    sigma: float = 0.5
    floor: float = 0.001


@dataclass(frozen=True)
class TrainedDetector:
    """Finds people; a `PersonDetector`.

    Attributes:
        model: in evaluation mode, on its device.
        device: of the model.
        precision: of the forward pass.
        max_people: boxes that are kept of a photo, where suppression is soft.
        soft: lowers the scores of boxes on one person; None: the network has dropped them.
    """

    model: Detector
    device: torch.device
    precision: Precision
    max_people: int
    soft: SoftSuppression | None = None

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str | torch.device = "auto",
        precision: str = "fp32",
        look: Look | None = None,
        score_threshold: float | None = None,
        max_people: int | None = None,
        soft: SoftSuppression | None = None,
    ) -> Self:
        """From a model file of `scripts/train_detector.py` or `scripts/import_detector.py`.

        Args:
            path: the file.
            device: auto, cpu or cuda, or the device of this rank.
            precision: auto, fp32, bf16 or fp16.
            look: at which size photos are looked at, and the network's own suppression; what is
                None in it is as in the file.
            score_threshold: boxes below it are dropped; None: the file's.
            max_people: of a photo; None: the file's.
            soft: soft-NMS instead of the network's own.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is no detector's, or the device is not there.
        """
        loaded = load_detector(Path(path))
        most = loaded.config.detector.max_people if max_people is None else max_people
        if loaded.config.detector.num_classes > PERSON_LABEL + 1:
            look_for_one_class(loaded.model, PERSON_LABEL)
        look = look or Look()
        if soft is not None:
            look = look._replace(nms_threshold=1.0)
        set_inference(
            loaded.model,
            look,
            score_threshold=score_threshold,
            max_people=most if soft is None else CANDIDATES_PER_BOX * most,
        )
        target = select_device(device) if isinstance(device, str) else device
        model = loaded.model.to(target)
        return cls(model, target, Precision(precision, target), most, soft)

    def __call__(self, images_rgb: Sequence[Uint8Array]) -> list[Detections]:
        """Upright photos (H, W, 3) uint8, of any sizes -> the people of each, best first.

        Photos of one size are one batch: padding would change what is found.

        Raises:
            ValueError: an image is not (H, W, 3) uint8.
        """
        found = find_people(self.model, images_rgb, device=self.device, precision=self.precision)
        if self.soft is None:
            return found
        return [_softened(each, self.soft, self.max_people) for each in found]


def set_inference(
    model: Detector, look: Look, *, score_threshold: float | None, max_people: int | None
) -> None:
    """Changes how a network in evaluation looks at photos; None leaves it as it is."""
    heads: Any = model.heads
    boxes = getattr(heads, "roi_heads", heads)
    given = {
        "score_thresh": score_threshold,
        "detections_per_img": max_people,
        "nms_thresh": look.nms_threshold,
    }
    for name, value in given.items():
        if value is not None:
            setattr(boxes, name, value)
    if look.min_size is not None:
        heads.transform.min_size = (look.min_size,)
    if look.max_size is not None:
        heads.transform.max_size = look.max_size


@torch.inference_mode()
def find_people(
    model: Detector,
    images_rgb: Sequence[Uint8Array],
    *,
    device: torch.device,
    precision: Precision,
) -> list[Detections]:
    """The people of each photo, by a network in evaluation mode; see `TrainedDetector`.

    None in a photo so thin that nothing is left of it at the size at which it is looked at.
    """
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    found: dict[int, Detections] = {}
    for index, image in enumerate(images_rgb):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}")
        if _vanishes(image.shape, model):
            found[index] = as_detections([])
        else:
            groups[image.shape].append(index)
    network = precision.autocast_calls(model)
    with _boxes_only(model):
        for indices in groups.values():
            stacked = torch.from_numpy(np.stack([images_rgb[index] for index in indices]))
            pixels = stacked.to(device).permute(0, 3, 1, 2).float().div_(255)
            results: list[dict[str, Tensor]] = network(list(pixels))
            found |= dict(zip(indices, map(_people, results), strict=True))
    return [found[index] for index in range(len(images_rgb))]


@contextmanager
def _boxes_only(model: Detector) -> Iterator[None]:
    """Without its mask and keypoint heads, which would take most of the time and are not asked."""
    heads: Any = model.heads
    second = getattr(heads, "roi_heads", heads)
    names = [f"{kind}_roi_pool" for kind in ("mask", "keypoint")]
    pools = {name: getattr(second, name) for name in names if hasattr(second, name)}
    try:
        for name in pools:
            setattr(second, name, None)
        yield
    finally:
        for name, pool in pools.items():
            setattr(second, name, pool)


def _vanishes(shape: tuple[int, ...], model: Detector) -> bool:
    """Whether `max_size` of the longer side leaves less than a pixel of the shorter one."""
    shorter, longer = sorted(shape[:2])
    return bool(shorter * model.heads.transform.max_size < longer)


def _people(result: dict[str, Tensor]) -> Detections:
    corners = result["boxes"]
    extent = (corners[:, 2:] - corners[:, :2]).amin(dim=1)
    # Not `>=`: a box that is not finite must be seen, and told, not dropped.
    person = (result["labels"] == PERSON_LABEL) & ~(extent < MIN_EXTENT)
    scores, order = result["scores"][person].double().sort(descending=True, stable=True)
    boxes = result["boxes"][person][order].double()
    return Detections(boxes.cpu().numpy(), scores.cpu().numpy())


def _softened(found: Detections, soft: SoftSuppression, max_people: int) -> Detections:
    kept = soft_box_nms(
        found.boxes_xyxy,
        found.scores,
        method=soft.method,
        threshold=soft.threshold,
        sigma=soft.sigma,
        floor=soft.floor,
    )
    order = np.argsort(-kept.scores, kind="stable")[:max_people]
    return Detections(found.boxes_xyxy[kept.indices[order]], kept.scores[order])
