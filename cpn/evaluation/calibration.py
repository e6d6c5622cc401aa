"""Calibration: whether a person's score says how good the pose is that it belongs to.

The quality of a pose is its OKS with the person it is of (from 0.1 on), 0 for nobody. A score that
equals the OKS to be expected can be thresholded, summed and compared between networks. Average
precision asks for order alone: within one model no rising map of the scores changes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from cpn.coco.strict_json import read_json
from cpn.errors import UserError
from cpn.evaluation.diagnosis import Diagnosis
from cpn.evaluation.diagnosis.matching import NOBODY
from cpn.files.atomic import write_json

FloatArray = NDArray[np.float64]

NUM_BINS = 10
FORMAT = "cpn-rescaling"
# Between two poses of one fitted level the better score stays the better one.
_TILT = 1e-6


class ReliabilityBin(NamedTuple):
    """Poses of nearly one score.

    Attributes:
        low: lowest score of the bin.
        high: highest score; only the last bin includes it.
        poses: how many are in it.
        mean_score: NaN in an empty bin, as `mean_oks`.
        mean_oks: the quality that they turned out to have.
    """

    low: float
    high: float
    poses: int
    mean_score: float
    mean_oks: float


def result_qualities(diagnosis: Diagnosis) -> FloatArray:
    """What the score of each result is an expectation of.

    Returns:
        (D,) OKS with the person that the result is of, 0 for a false positive; NaN for a result
        that is neither right nor wrong: of a crowd or a person without labelled keypoints, or not
        among the best 20 of its image.
    """
    owners, counted = diagnosis.matches, np.append(diagnosis.people.counted, False)
    oks = np.append(diagnosis.oks, 0.0)[owners]  # the last one stands for nobody
    judged = diagnosis.kept & ((owners == NOBODY) | counted[owners])
    return np.where(judged, oks, np.nan)


def reliability(
    scores: FloatArray, qualities: FloatArray, *, num_bins: int = NUM_BINS
) -> list[ReliabilityBin]:
    """Scores against what they promise, in bins of equal width.

    Args:
        scores: (N,).
        qualities: (N,) OKS of the same poses.
        num_bins: from 0 to 1, or from the lowest and to the highest score where these are outside.
    """
    edges = np.linspace(scores.min(initial=0.0), scores.max(initial=1.0), num_bins + 1)
    places = np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, num_bins - 1)
    bins = []
    for place, (low, high) in enumerate(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)):
        inside = places == place
        count = int(inside.sum())
        means = [float(x[inside].mean()) if count else float("nan") for x in (scores, qualities)]
        bins.append(ReliabilityBin(low, high, count, means[0], means[1]))
    return bins


def calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """Expected calibration error: mean of |mean score - mean OKS| over the poses; NaN without any.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.
    """
    total = sum(each.poses for each in bins)
    if not total:
        return float("nan")
    off = (each.poses * abs(each.mean_score - each.mean_oks) for each in bins if each.poses)
    return sum(off) / total


def rank_correlation(scores: FloatArray, qualities: FloatArray) -> float:
    """Spearman's: 1 where a higher score always means a higher OKS; NaN where one is constant."""
    first, second = _ranks(scores), _ranks(qualities)
    if len(first) < 2 or not first.std() or not second.std():
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _ranks(values: FloatArray) -> FloatArray:
    """Positions in rising order from 0 on; equal values share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2)[places])


def isotonic_levels(scores: FloatArray, qualities: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The rising step function nearest to the qualities, in squares: pool adjacent violators.

    Args:
        scores: (N,), N >= 1.
        qualities: (N,).

    Returns:
        (L,) mean scores and (L,) mean qualities of the levels, both rising.

    Source: Ayer et al., Annals of Mathematical Statistics 26, 1955.
    """
    knots, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(places, weights=qualities) / counts
    levels: list[tuple[float, float, float]] = []  # quality, mean score, weight
    for knot, mean, count in zip(knots.tolist(), means.tolist(), counts.tolist(), strict=True):
        level = (mean, knot, float(count))
        while levels and levels[-1][0] >= level[0]:
            before = levels.pop()
            weight = before[2] + level[2]
            quality, score = (
                (before[i] * before[2] + level[i] * level[2]) / weight for i in (0, 1)
            )
            level = (quality, score, weight)
        levels.append(level)
    return np.array([level[1] for level in levels]), np.array([level[0] for level in levels])


class _RescalingFile(msgspec.Struct, frozen=True):
    format: str
    version: int
    score: str
    scores: list[float]
    expected_oks: list[float]


@dataclass(frozen=True, eq=False)
class Rescaling:
    """A rising map from scores to the OKS to be expected.

    Attributes:
        score: the score mode (`postprocess.score`) that it was fitted to.
        scores: (L,) rising.
        expected_oks: (L,) rising, at these scores; between them the map is a line.
    """

    score: str
    scores: FloatArray
    expected_oks: FloatArray

    @classmethod
    def fit(cls, score: str, scores: FloatArray, qualities: FloatArray) -> Self:
        """By `isotonic_levels`; fitted to few people it says little of others.

        Raises:
            UserError: there is no pose.
        """
        if not len(scores):
            raise UserError("a rescaling of scores cannot be fitted to no poses")
        return cls(score, *isotonic_levels(scores, qualities))

    def __call__(self, scores: FloatArray) -> FloatArray:
        """(N,) expected OKS of (N,) scores; outside the fitted ones all but level.

        Of two scores that differ by 1e-9 or more the higher stays the higher one.
        """
        return np.asarray(np.interp(scores, self.scores, self.expected_oks) + _TILT * scores)

    def save(self, path: Path) -> None:
        """Writes a JSON file, atomically."""
        content = _RescalingFile(
            FORMAT, 1, self.score, self.scores.tolist(), self.expected_oks.tolist()
        )
        write_json(path, msgspec.to_builtins(content))

    @classmethod
    def load(cls, path: Path, *, score: str) -> Self:
        """Reads what `save` wrote.

        Args:
            path: the file.
            score: the score mode that it is to be used with.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is another kind of file, broken, or of another score mode.
        """
        content = read_json(path, _RescalingFile)
        arrays = [np.array(content.scores), np.array(content.expected_oks)]
        lengths = {len(array) for array in arrays}
        rising = all((np.diff(array) > 0).all() for array in arrays)
        if (content.format, content.version) != (FORMAT, 1) or len(lengths) > 1 or not rising:
            raise UserError(f"{path}: is no rescaling of scores; give what evaluate.py wrote")
        if not content.scores:
            raise UserError(f"{path}: is no rescaling of scores: it is empty")
        if content.score != score:
            raise UserError(
                f"{path}: was fitted to postprocess.score={content.score}, not to {score}; use the "
                "same or fit it again"
            )
        return cls(content.score, *arrays)


def calibration_report(
    scores: FloatArray, qualities: FloatArray, image_ids: NDArray[np.int64], *, score: str
) -> dict[str, Any]:
    """What evaluation tells of the scores.

    Args:
        scores: (N,) of persons.
        qualities: (N,) from `result_qualities`; poses with NaN are left out.
        image_ids: (N,).
        score: the score mode.

    Returns:
        "poses", "spearman", "expected_calibration_error", "rescaled_error" (each half of the images
        rescaled as fitted to the other half; NaN where a half is empty) and "bins".
    """
    counted = np.isfinite(qualities)
    scores, qualities, image_ids = scores[counted], qualities[counted], image_ids[counted]
    bins = reliability(scores, qualities)
    return {
        "poses": len(scores),
        "spearman": rank_correlation(scores, qualities),
        "expected_calibration_error": calibration_error(bins),
        "rescaled_error": _error_on_other_half(scores, qualities, image_ids, score),
        "bins": [each._asdict() for each in bins],
    }


def _error_on_other_half(
    scores: FloatArray, qualities: FloatArray, image_ids: NDArray[np.int64], score: str
) -> float:
    _, images = np.unique(image_ids, return_inverse=True)
    halves = images % 2 == 0, images % 2 == 1
    if not all(half.any() for half in halves):
        return float("nan")
    rescaled = np.empty(len(scores))
    for fitted, applied in (halves, halves[::-1]):
        rescaled[applied] = Rescaling.fit(score, scores[fitted], qualities[fitted])(scores[applied])
    return calibration_error(reliability(rescaled, qualities))
