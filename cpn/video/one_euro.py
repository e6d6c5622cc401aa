"""The 1-Euro filter: keypoints that neither jitter at rest nor lag in motion.

Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems", CHI 2012: a low-pass filter whose cutoff frequency rises with the speed.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class OneEuro:
    """The filter's three numbers.

    Attributes:
        min_cutoff: Hz, of a keypoint at rest; lower is smoother.
        beta: Hz per person size and second; higher lags less in motion. A person's size is the
            square root of the box's area, so that the same numbers suit near and far people.
        d_cutoff: Hz, of the speed itself.
    """

    min_cutoff: float
    beta: float
    d_cutoff: float


@dataclass
class _Track:
    """The filter's memory of one person: filtered (K, 2) points and speeds, NaN where unknown."""

    time: float
    points: FloatArray
    speeds: FloatArray


class KeypointSmoother:
    """One filter per track and keypoint.

    Both coordinates of a keypoint share the cutoff, that of its speed's length: smoothing does not
    depend on how the camera is held. A keypoint that is not seen is left as it is and forgotten:
    when it is seen again its filter begins anew, so no old place pulls at it.

    Args:
        filter: its numbers.
        threshold: keypoints with a lower score are not seen.
        forget_seconds: tracks that were not there for longer are forgotten.
    """

    def __init__(self, filter: OneEuro, *, threshold: float, forget_seconds: float) -> None:  # noqa: A002 - that is what it is
        self._filter = filter
        self._threshold = threshold
        self._forget_seconds = forget_seconds
        self._tracks: dict[int, _Track] = {}

    def __call__(
        self,
        track: int,
        points: FloatArray,
        scores: FloatArray,
        *,
        size: float,
        time: float,
    ) -> FloatArray:
        """The smoothed points of one person in one frame.

        Args:
            track: the person's number.
            points: (K, 2) in the frame.
            scores: (K,).
            size: square root of the box's area, in pixels.
            time: seconds, later than that of the person's frame before.

        Returns:
            (K, 2).
        """
        self._forget(time)
        measured = np.where((scores >= self._threshold)[:, None], points, np.nan)
        before = self._tracks.get(track)
        if before is None or time <= before.time:
            self._tracks[track] = _Track(time, measured, np.zeros_like(points))
            return points.copy()
        smoothed, speeds = self._step(before, measured, size, time - before.time)
        self._tracks[track] = _Track(time, smoothed, speeds)
        return np.where(np.isnan(smoothed), points, smoothed)

    def _step(
        self, before: _Track, measured: FloatArray, size: float, seconds: float
    ) -> tuple[FloatArray, FloatArray]:
        """Algorithm 1 of the paper; where there was no point before, the measured one stays."""
        begins = np.isnan(before.points)
        raw_speeds = np.where(begins, 0.0, (measured - before.points) / seconds)
        raw_speeds = np.where(np.isnan(measured), 0.0, raw_speeds)
        alpha = _alpha(np.array(self._filter.d_cutoff), seconds)
        speeds = np.where(begins, 0.0, alpha * raw_speeds + (1 - alpha) * before.speeds)
        relative = np.linalg.norm(speeds, axis=1, keepdims=True) / max(size, 1.0)
        alphas = _alpha(self._filter.min_cutoff + self._filter.beta * relative, seconds)
        filtered = alphas * measured + (1 - alphas) * before.points
        return np.where(begins, measured, filtered), speeds

    def _forget(self, time: float) -> None:
        over = [
            number
            for number, track in self._tracks.items()
            if time - track.time > self._forget_seconds
        ]
        for number in over:
            del self._tracks[number]


def _alpha(cutoff_hz: FloatArray, seconds: float) -> FloatArray:
    """The weight of the new value: of a first-order low-pass filter, after so long a time."""
    tau = 1 / (2 * math.pi * cutoff_hz)
    return np.asarray(1 / (1 + tau / seconds))
