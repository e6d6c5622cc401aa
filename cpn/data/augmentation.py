"""How training crops vary."""

from dataclasses import dataclass


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


def _check_unit(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in 0..1, got {value}")
