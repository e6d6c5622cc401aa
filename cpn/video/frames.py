"""What a video or a camera gives, one after the other."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


class VideoFrame(NamedTuple):
    """One frame of a video, upright.

    Attributes:
        number: 0, 1, ... in the order of showing; a frame that is lost keeps its number.
        time: seconds after the first frame.
        image_rgb: (H, W, 3); None where it cannot be decoded.
        problem: why not, in a few words.
    """

    number: int
    time: float
    image_rgb: Image | None
    problem: str | None = None
