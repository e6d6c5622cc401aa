"""The person crop and its augmentation, as albumentations transforms in one `Compose`.

One warp takes the photo to the crop: rotation, scale and flip are in its matrix, and the points go
through the same matrix. Colours and blanked rectangles are only drawn here, see
`cpn.data.photometrics`. albumentations' own random streams are replaced for every call, because
they ignore all global seeds and repeat in forked workers.
"""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.data.persons import FloatArray, PersonInstance
from cpn.data.photometrics import MAX_HOLES, NO_HOLES, SAME_COLOUR, colour_matrix
from cpn.errors import UserError
from cpn.geometry.crop import crop_matrix, grow_box, transform_points, warp_crop
from cpn.skeleton import Skeleton

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else the import asks the network
import albumentations as A  # noqa: N812

Uint8Array = npt.NDArray[np.uint8]
IntArray = npt.NDArray[np.int64]

HALF_BODY_MARGIN = 1.5
MIN_HALF_BODY_KEYPOINTS = 3
HOLE_SIDES = (0.05, 0.2)  # of the crop's


@dataclass(frozen=True)
class Augmentation:
    """How training crops vary; by default as in `configs/augment/cpn.yaml`.

    Attributes:
        scale_range: factor on the box, uniform: above 1 the person gets smaller.
        rotation_degrees: largest angle, uniform on both sides.
        rotation_probability: share of crops that are rotated.
        flip_probability: share of crops that are mirrored, with left and right exchanged.
        half_body_probability: share of the persons with more than `half_body_min_keypoints`
            labelled keypoints that are cut to their upper or lower half (HRNet's augmentation).
        half_body_min_keypoints: see above.
        brightness: strength b: factor uniform in [1 - b, 1 + b].
        contrast: strength, around mid-grey.
        saturation: strength, around each pixel's grey value.
        blur_probability: share of crops with a Gaussian blur.
        dropout_probability: share of crops with one to four black rectangles.
    """

    scale_range: tuple[float, float] = (0.7, 1.35)
    rotation_degrees: float = 45.0
    rotation_probability: float = 0.6
    flip_probability: float = 0.5
    half_body_probability: float = 0.3
    half_body_min_keypoints: int = 8
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.25
    blur_probability: float = 0.0
    dropout_probability: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.scale_range
        if not 0 < low <= high:
            raise ValueError(f"scale_range needs 0 < low <= high, got {self.scale_range}")
        if not 0 <= self.rotation_degrees <= 180:
            raise ValueError(f"rotation_degrees must be in 0..180, got {self.rotation_degrees}")
        for name in ("rotation", "flip", "half_body", "blur", "dropout"):
            _check_unit(f"{name}_probability", getattr(self, f"{name}_probability"))
        for name in ("brightness", "contrast", "saturation"):
            _check_unit(name, getattr(self, name))


class TransformedPerson(NamedTuple):
    """What `PersonTransform` gives; see `PoseSample` for the fields."""

    crop: Uint8Array
    points: npt.NDArray[np.float32]
    visibility: IntArray
    matrix: FloatArray
    colour: npt.NDArray[np.float32]
    holes: npt.NDArray[np.int32]


class PersonCrop(A.DualTransform):  # type: ignore[misc]  # albumentations has no types
    """Cuts one person out with a single warp.

    Reads `box_xywh` and turns `image` into the crop, `points` (K, 2) from the image to the crop
    frame, and `visibility` (K,) along with them. The parameters of a call hold its `matrix`. Crops
    go to `out` where that is set, which saves a copy.
    """

    _targets = ()

    def __init__(
        self,
        skeleton: Skeleton,
        input_hw: tuple[int, int],
        *,
        margin: float,
        augmentation: Augmentation | None,
    ) -> None:
        super().__init__(p=1.0)
        self.skeleton = skeleton
        self.input_hw = input_hw
        self.margin = margin
        self.augmentation = augmentation
        self.out: Uint8Array | None = None
        self._flip_permutation = list(skeleton.flip_permutation)
        self._halves = [list(skeleton.upper_body), list(skeleton.lower_body)]

    @property
    def targets(self) -> dict[str, Callable[..., Any]]:
        """The data keys this transform changes."""
        return {
            "image": self.apply,
            "points": self.apply_to_points,
            "visibility": self.apply_to_visibility,
        }

    @property
    def targets_as_params(self) -> list[str]:
        """The data keys the parameters depend on."""
        return ["box_xywh", "points", "visibility"]

    def get_params_dependent_on_data(
        self,
        params: dict[str, Any],  # noqa: ARG002  (the name is albumentations')
        data: dict[str, Any],
    ) -> dict[str, Any]:
        """Draws the crop: its `matrix`, and whether it is a `flip`."""
        aspect = self.input_hw[1] / self.input_hw[0]
        box_xywh, margin, draws = data["box_xywh"], self.margin, {}
        if self.augmentation is not None:
            draws = _draw_pose(self.augmentation, self.random_generator)
            half = self._half_body_box(data["points"], data["visibility"], self.augmentation)
            if half is not None:
                box_xywh, margin = half, HALF_BODY_MARGIN
        center, size_wh = grow_box(box_xywh, aspect=aspect, margin=margin)
        matrix = crop_matrix(center, size_wh, self.input_hw, **draws)
        return {"matrix": matrix, "flip": draws.get("flip", False)}

    def apply(self, img: Uint8Array, *, matrix: FloatArray, **_: object) -> Uint8Array:
        """The warp."""
        return warp_crop(img, matrix, self.input_hw, out=self.out)

    def apply_to_points(
        self, points: FloatArray, *, matrix: FloatArray, flip: bool, **_: object
    ) -> FloatArray:
        """The same map for (K, 2) points; a flip also exchanges left and right."""
        mapped = transform_points(matrix, points)
        return mapped[self._flip_permutation] if flip else mapped

    def apply_to_visibility(self, visibility: IntArray, *, flip: bool, **_: object) -> IntArray:
        """Visibility changes places with its points."""
        return visibility[self._flip_permutation] if flip else visibility

    def _half_body_box(
        self, points: FloatArray, visibility: IntArray, augmentation: Augmentation
    ) -> FloatArray | None:
        """The box around the labelled keypoints of one half, or None to keep the person whole."""
        rng = self.random_generator
        labelled = visibility > 0
        if rng.random() >= augmentation.half_body_probability:
            return None
        if labelled.sum() <= augmentation.half_body_min_keypoints:
            return None
        candidates = [points[half][labelled[half]] for half in self._halves]
        candidates = [half for half in candidates if len(half) >= MIN_HALF_BODY_KEYPOINTS]
        if not candidates:
            return None
        half = candidates[rng.integers(len(candidates))]
        low, high = half.min(axis=0), half.max(axis=0)
        # Points are pixel indices, boxes edges: a pixel's centre is half a pixel inside.
        box = np.concatenate([low + 0.5, high - low])
        return box if (high - low).max() >= 1 else None


class DrawnPhotometrics(A.ImageOnlyTransform):  # type: ignore[misc]  # albumentations has no types
    """Draws a `colour` matrix and `holes`, which `apply_photometrics` applies on the device.

    The parameters of a call hold both; the crop stays as it is.
    """

    def __init__(self, augmentation: Augmentation, input_hw: tuple[int, int]) -> None:
        super().__init__(p=1.0)
        self.augmentation = augmentation
        self.input_hw = input_hw

    def get_params(self) -> dict[str, Any]:
        """Draws the three factors and, where there are to be some, one to four rectangles."""
        augmentation, rng = self.augmentation, self.random_generator
        strengths = (augmentation.brightness, augmentation.contrast, augmentation.saturation)
        factors = 1.0 + np.array(strengths) * rng.uniform(-1.0, 1.0, 3)
        holes = NO_HOLES
        if augmentation.dropout_probability and rng.random() < augmentation.dropout_probability:
            holes = _draw_holes(rng, self.input_hw)
        return {"colour": colour_matrix(*factors.tolist()), "holes": holes}

    def apply(self, img: Uint8Array, **_: object) -> Uint8Array:
        """The crop, unchanged."""
        return img


def _draw_holes(rng: np.random.Generator, input_hw: tuple[int, int]) -> npt.NDArray[np.int32]:
    """(MAX_HOLES, 4) rectangles x0, y0, x1, y1 inside the crop, the last ones perhaps empty."""
    holes = NO_HOLES.copy()
    size_wh = np.array(input_hw[::-1])
    for hole in holes[: rng.integers(1, MAX_HOLES + 1)]:
        sides = np.maximum(1, size_wh * rng.uniform(*HOLE_SIDES, 2)).astype(np.int64)
        hole[:2] = rng.integers(0, size_wh - sides + 1)
        hole[2:] = hole[:2] + sides
    return holes


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
        self._crop = PersonCrop(skeleton, input_hw, margin=margin, augmentation=augmentation)
        self._looks: DrawnPhotometrics | None = None
        others: list[A.BasicTransform] = []
        if augmentation is not None:
            self._looks = DrawnPhotometrics(augmentation, input_hw)
            others = [*_blur(augmentation), self._looks]
        self._compose = A.Compose([self._crop, *others])

    def __call__(
        self,
        image_rgb: Uint8Array,
        instance: PersonInstance,
        rng: np.random.Generator | None = None,
        *,
        out: Uint8Array | None = None,
    ) -> TransformedPerson:
        """Transforms one person; all randomness comes from `rng`.

        Args:
            image_rgb: (H, W, 3) or (H, W, 4) uint8, see `warp_crop`.
            instance: box and keypoints in the image frame.
            rng: needed with augmentation.
            out: (*input_hw, 3) uint8 for the crop; None: new memory.
        """
        if self.augmentation is not None:
            if rng is None:
                raise ValueError("an augmenting PersonTransform needs a random generator")
            python_random = random.Random(int(rng.integers(2**63)))  # noqa: S311  (no secrets)
            self._compose.set_random_state(rng, python_random)
        self._crop.out = out
        result = self._compose(
            image=image_rgb,
            box_xywh=instance.box_xywh,
            points=instance.keypoints[:, :2],
            visibility=instance.keypoints[:, 2].astype(np.int64),
        )
        points, visibility = result["points"].astype(np.float32), result["visibility"]
        if self.augmentation is not None:
            visibility = np.where(self._inside(points), visibility, 0)
        matrix = self._crop.get_applied_params()["matrix"]
        colour, holes = SAME_COLOUR, NO_HOLES
        if self._looks is not None:
            drawn = self._looks.get_applied_params()
            colour, holes = drawn["colour"], drawn["holes"]
        crop = result["image"]
        if out is not None and crop is not out:  # blurred, or copied on the way
            out[...] = crop
            crop = out
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


def _blur(augmentation: Augmentation) -> list[A.BasicTransform]:
    if not augmentation.blur_probability:
        return []
    return [A.GaussianBlur(sigma_limit=(0.5, 2.0), p=augmentation.blur_probability)]


def _check_flip(skeleton: Skeleton) -> None:
    unpaired = skeleton.unpaired_sided_names
    if unpaired:
        raise UserError(
            f"mirrored crops would mislabel the keypoints {list(unpaired)}: name their pairs in"
            " data.flip_pairs or set augment.flip_probability to 0"
        )


def _check_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in 0..1, got {value}")
