"""The person crop and its augmentation.

One warp takes the photo to the crop: rotation, scale and flip are in its matrix, and the points go
through the same matrix. Colours and blanked rectangles are only drawn here, see
`cpn.data.photometrics`; albumentations blurs.
"""

import os
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.data.augmentation import Augmentation
from cpn.data.persons import FloatArray, PersonInstance
from cpn.data.photometrics import NO_HOLES, SAME_COLOUR, draw_photometrics
from cpn.errors import UserError
from cpn.geometry.crop import Placement, crop_matrix, grow_box, transform_points, warp_crop
from cpn.skeleton import Skeleton

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network
import albumentations as A  # noqa: N812

Uint8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]

HALF_BODY_MARGIN = 1.5
MIN_HALF_BODY_KEYPOINTS = 3
WHOLE_PHOTO = Placement()


class TransformedPerson(NamedTuple):
    """What `PersonTransform` gives; see `PoseSample` for the fields."""

    crop: Uint8Array
    points: npt.NDArray[np.float32]
    visibility: IntArray
    matrix: FloatArray
    colour: npt.NDArray[np.float32]
    holes: npt.NDArray[np.int32]


class PersonCrop:
    """The rule by which people are cut out of photos; `draw` gives one crop of a person."""

    def __init__(
        self,
        skeleton: Skeleton,
        input_hw: tuple[int, int],
        *,
        margin: float,
        augmentation: Augmentation | None,
    ) -> None:
        self.skeleton = skeleton
        self.input_hw = input_hw
        self.margin = margin
        self.augmentation = augmentation
        self.halves = [list(skeleton.upper_body), list(skeleton.lower_body)]

    def draw(
        self, instance: PersonInstance, rng: np.random.Generator | None
    ) -> tuple[FloatArray, bool]:
        """A (2, 3) map from the photo to the crop, and whether it mirrors.

        Without augmentation it is always the same one.
        """
        box_xywh, margin, draws = instance.box_xywh, self.margin, {}
        if self.augmentation is not None and rng is not None:
            draws = _draw_pose(self.augmentation, rng)
            half = self._half_body_box(instance.keypoints, self.augmentation, rng)
            if half is not None:
                box_xywh, margin = half, HALF_BODY_MARGIN
        aspect = self.input_hw[1] / self.input_hw[0]
        center, size_wh = grow_box(box_xywh, aspect=aspect, margin=margin)
        return crop_matrix(center, size_wh, self.input_hw, **draws), draws.get("flip", False)

    def _half_body_box(
        self, keypoints: FloatArray, augmentation: Augmentation, rng: np.random.Generator
    ) -> FloatArray | None:
        """The box around the labelled keypoints of one half, or None to keep the person whole."""
        labelled = keypoints[:, 2] > 0
        if rng.random() >= augmentation.half_body_probability:
            return None
        if labelled.sum() <= augmentation.half_body_min_keypoints:
            return None
        halves = [half for half in self.halves if labelled[half].sum() >= MIN_HALF_BODY_KEYPOINTS]
        if not halves:
            return None
        half = halves[rng.integers(len(halves))]
        box, usable = half_body_boxes(keypoints[:, :2], labelled, half)
        return box if usable else None


def half_body_boxes(
    points: FloatArray, labelled: npt.NDArray[np.bool_], half: Sequence[int]
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """The boxes around the labelled keypoints of one half of bodies.

    Args:
        points: (..., K, 2) image frame.
        labelled: (..., K).
        half: indices of the keypoints of that half.

    Returns:
        (..., 4) xywh, edge frame, and (...) whether they may be used: there are enough keypoints,
        not all on one spot. The others are zero.
    """
    points, labelled = points[..., half, :], labelled[..., half]
    low = np.where(labelled[..., None], points, np.inf).min(axis=-2, initial=np.inf)
    high = np.where(labelled[..., None], points, -np.inf).max(axis=-2, initial=-np.inf)
    usable = labelled.sum(axis=-1) >= MIN_HALF_BODY_KEYPOINTS
    usable &= (high - low).max(axis=-1) >= 1
    # Points are pixel indices, boxes edges: a pixel's centre is half a pixel inside.
    boxes = np.concatenate([low + 0.5, high - low], axis=-1)
    return np.where(usable[..., None], boxes, 0.0), usable


class PersonTransform:
    """Photo and person -> crop, points, visibility and the matrix between them.

    Args:
        skeleton: for the flip and the halves of the body.
        input_hw: (H, W) of the crop.
        margin: growth of the box, see `grow_box`.
        augmentation: None for evaluation: the same crop rule without any randomness, and points
            outside the crop keep their visibility.

    Raises:
        UserError: a flip is wanted, but the flip pairs leave out keypoints that have a side.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        input_hw: tuple[int, int],
        *,
        margin: float = 1.25,
        augmentation: Augmentation | None = None,
    ) -> None:
        if augmentation is not None and augmentation.flip_probability > 0:
            _check_flip(skeleton)
        self.input_hw = input_hw
        self.augmentation = augmentation
        self.crop = PersonCrop(skeleton, input_hw, margin=margin, augmentation=augmentation)
        self._flip_permutation = list(skeleton.flip_permutation)
        self._blur: A.Compose | None = None
        if augmentation is not None and augmentation.blur_probability > 0:
            blur = A.GaussianBlur(sigma_limit=(0.5, 2.0), p=augmentation.blur_probability)
            self._blur = A.Compose([blur])

    def __call__(
        self,
        image_rgb: Uint8Array,
        instance: PersonInstance,
        rng: np.random.Generator | None = None,
        *,
        out: Uint8Array | None = None,
        placement: Placement = WHOLE_PHOTO,
    ) -> TransformedPerson:
        """Transforms one person; all randomness comes from `rng`.

        Args:
            image_rgb: (H, W, 3) or (H, W, 4) uint8, see `warp_crop`.
            instance: box and keypoints in the photo's frame.
            rng: needed with augmentation.
            out: (*input_hw, 3) uint8 for the crop; None: new memory.
            placement: the part of the photo that the image is.
        """
        if self.augmentation is not None and rng is None:
            raise ValueError("an augmenting PersonTransform needs a random generator")
        matrix, flip = self.crop.draw(instance, rng)
        crop = warp_crop(image_rgb, placement.matrix(matrix), self.input_hw, out=out)
        points = transform_points(matrix, instance.keypoints[:, :2]).astype(np.float32)
        visibility = instance.keypoints[:, 2].astype(np.int64)
        if flip:  # left and right change places
            points, visibility = points[self._flip_permutation], visibility[self._flip_permutation]
        if self.augmentation is None or rng is None:
            return TransformedPerson(crop, points, visibility, matrix, SAME_COLOUR, NO_HOLES)
        visibility = np.where(self._inside(points), visibility, 0)
        colour, holes = draw_photometrics(self.augmentation, self.input_hw, rng)
        if self._blur is not None:
            # albumentations' own random streams ignore all seeds and repeat in forked workers
            python_random = random.Random(int(rng.integers(2**63)))  # noqa: S311  (no secrets)
            self._blur.set_random_state(rng, python_random)
            crop[...] = self._blur(image=crop)["image"]
        return TransformedPerson(crop, points, visibility, matrix, colour, holes)

    def _inside(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Whether the points' pixels belong to the crop: index in [-0.5, size - 0.5)."""
        size_wh = np.array(self.input_hw[::-1])
        return np.asarray(((points >= -0.5) & (points < size_wh - 0.5)).all(axis=-1))


def _draw_pose(augmentation: Augmentation, rng: np.random.Generator) -> dict[str, Any]:
    """Scale, rotation and flip, as `crop_matrix` takes them."""
    rotates = rng.random() < augmentation.rotation_probability
    angle = augmentation.rotation_degrees * rng.uniform(-1.0, 1.0)
    return {
        "scale": rng.uniform(*augmentation.scale_range),
        "rotation_degrees": angle if rotates else 0.0,
        "flip": bool(rng.random() < augmentation.flip_probability),
    }


def _check_flip(skeleton: Skeleton) -> None:
    unpaired = skeleton.unpaired_sided_names
    if unpaired:
        raise UserError(
            f"mirrored crops would mislabel the keypoints {list(unpaired)}: name their pairs in"
            " data.flip_pairs or set augment.flip_probability to 0"
        )
