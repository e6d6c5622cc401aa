"""Which result found which person, as COCO's evaluation decides it: all that AP is made of.

The ten numbers follow from it in milliseconds, for any weights of the images. Resampling images, as
a bootstrap does, changes weights and never a match.

Legend: A area classes, T OKS thresholds, D results, G people, I images, R sets of weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is averaged (COCO)
EPSILON = float(np.spacing(1))  # of pycocotools' precision
WEIGHTS_AT_ONCE = 16  # keeps what is in work in the processor's cache

# What each of the ten numbers averages: area class, threshold (None: all), precision or recall.
AVERAGES = (
    *((0, None, "precision"), (0, 0.5, "precision"), (0, 0.75, "precision")),
    *((1, None, "precision"), (2, None, "precision")),
    *((0, None, "recall"), (0, 0.5, "recall"), (0, 0.75, "recall")),
    *((1, None, "recall"), (2, None, "recall")),
)


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of matching results with people, per area class and OKS threshold.

    The area classes are all, medium and large. Ignored are results on crowds, on people without
    labelled keypoints, and those outside the area class; they are neither right nor wrong.

    Attributes:
        image_ids: (I,) int64.
        thresholds: (T,) of OKS.
        result_images: (D,) positions in `image_ids`; results by falling score, 20 per image at most
            (COCO's maxDets), equal scores in the order of the images.
        result_numbers: (D,) int64 which of the results that were given, from 0.
        scores: (D,) float64.
        matched: (A, T, D) whether a result found a person.
        ignored: (A, T, D).
        person_images: (G,) positions in `image_ids`.
        counted: (A, G) whether a person is to be found.
    """

    image_ids: IntArray
    thresholds: FloatArray
    result_images: IntArray
    result_numbers: IntArray
    scores: FloatArray
    matched: BoolArray
    ignored: BoolArray
    person_images: IntArray
    counted: BoolArray

    @classmethod
    def from_images(
        cls,
        records: Sequence[dict[str, Any] | None],
        *,
        image_ids: Sequence[int],
        areas: Sequence[Sequence[float]],
        thresholds: Sequence[float],
    ) -> Self:
        """From `COCOeval.evalImgs`: a record per area class and image, of a single category.

        The engines differ in their order, and in whether empty images have records.
        """
        ids = np.unique(np.asarray(image_ids, dtype=np.int64))
        known = sorted((r for r in records if r is not None), key=lambda r: int(r["image_id"]))
        parts = [
            _joined([r for r in known if list(r["aRng"]) == list(area)], ids, len(thresholds))
            for area in areas
        ]
        first = parts[0]
        order = np.argsort(-first.scores, kind="mergesort")  # as pycocotools
        return cls(
            image_ids=ids,
            thresholds=np.asarray(thresholds, dtype=np.float64),
            result_images=first.result_images[order],
            result_numbers=first.result_ids[order] - 1,
            scores=first.scores[order],
            matched=np.stack([part.matched[:, order] for part in parts]),
            ignored=np.stack([part.ignored[:, order] for part in parts]),
            person_images=first.person_images,
            counted=np.stack([part.counted for part in parts]),
        )

    def precisions(self) -> FloatArray:
        """(A, T, 101) precision at the recalls `RECALLS`; NaN without people to find."""
        ones = np.ones((1, len(self.image_ids)), dtype=np.int64)
        return np.asarray(self._curves(ones)[0][0])

    def statistics(self, weights: IntArray | None = None) -> FloatArray:
        """The ten numbers of COCO's keypoint evaluation, NaN where there is nobody to find.

        Args:
            weights: (R, I) how often each image counts, 0 or more; None: each once.

        Returns:
            (R, 10); (10,) without weights, equal to pycocotools' to the last bit.
        """
        if weights is None:
            ones = np.ones((1, len(self.image_ids)), dtype=np.int64)
            return np.asarray(self.statistics(ones)[0])
        parts = []
        for start in range(0, len(weights), WEIGHTS_AT_ONCE):
            precision, recall = self._curves(weights[start : start + WEIGHTS_AT_ONCE])
            parts.append(self._averages(precision, recall))
        return np.concatenate(parts) if parts else np.zeros((0, len(AVERAGES)))

    def _averages(self, precision: FloatArray, recall: FloatArray) -> FloatArray:
        kinds = {"precision": precision, "recall": recall[..., None]}
        columns = []
        for area, threshold, kind in AVERAGES:
            values = kinds[kind][:, area]
            if threshold is not None:
                values = values[:, np.isclose(self.thresholds, threshold)]
            columns.append(values.reshape(len(values), -1).mean(axis=1))
        return np.stack(columns, axis=1)

    def _curves(self, weights: IntArray) -> tuple[FloatArray, FloatArray]:
        """(R, A, T, 101) precision and (R, A, T) recall, of (R, I) weights."""
        areas, thresholds = self.matched.shape[:2]
        precision = np.full((len(weights), areas, thresholds, len(RECALLS)), np.nan)
        recall = np.full((len(weights), areas, thresholds), np.nan)
        of_results = weights.astype(np.int32)[:, self.result_images]
        for area in range(areas):
            people = weights[:, self.person_images[self.counted[area]]].sum(axis=1)
            for level in range(thresholds):
                found = self.matched[area, level] & ~self.ignored[area, level]
                judged = np.where(self.ignored[area, level], np.int32(0), of_results)
                places = np.flatnonzero(found)
                right = np.cumsum(of_results[:, places], axis=1)
                total = np.cumsum(judged, axis=1, out=judged)[:, places]
                for row in np.flatnonzero(people):
                    at, share = right[row] / people[row], right[row] / (total[row] + EPSILON)
                    precision[row, area, level] = _at_recalls(at, share)
                    recall[row, area, level] = at[-1] if len(at) else 0.0
        return precision, recall


def _at_recalls(recall: FloatArray, precision: FloatArray) -> FloatArray:
    """The highest precision at each recall of `RECALLS` or a higher one; 0 beyond the last.

    The points are those at which a person was found. Between them precision only falls, so no
    other one counts.
    """
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return np.append(highest, 0.0)[np.searchsorted(recall, RECALLS, side="left")]


@dataclass(frozen=True, eq=False)
class _Class:
    """An area class, its images one after the other."""

    result_images: IntArray
    result_ids: IntArray
    scores: FloatArray
    matched: BoolArray
    ignored: BoolArray
    person_images: IntArray
    counted: BoolArray


def _joined(records: Sequence[dict[str, Any]], image_ids: IntArray, thresholds: int) -> _Class:
    """The records of an area class, in the order of the images."""
    places = np.searchsorted(image_ids, [int(record["image_id"]) for record in records])
    results = np.repeat(places, [len(record["dtIds"]) for record in records])
    people = np.repeat(places, [len(record["gtIds"]) for record in records])
    # Sorted by id within an image, so that a person has the same place in all classes.
    counted: list[bool] = []
    for record in records:
        pairs = zip(record["gtIds"], record["gtIgnore"], strict=True)
        counted += [not ignored for _, ignored in sorted(pairs)]
    nothing = np.zeros((thresholds, 0), dtype=np.bool_)
    return _Class(
        result_images=results,
        result_ids=np.array([i for record in records for i in record["dtIds"]], dtype=np.int64),
        scores=np.array([s for record in records for s in record["dtScores"]], dtype=np.float64),
        matched=_side_by_side(nothing, [record["dtMatches"] for record in records]) != 0,
        ignored=_side_by_side(nothing, [record["dtIgnore"] for record in records]) != 0,
        person_images=people,
        counted=np.array(counted, dtype=np.bool_),
    )


def _side_by_side(nothing: BoolArray, parts: Sequence[Any]) -> NDArray[np.float64]:
    arrays = [np.asarray(part).reshape(len(nothing), -1) for part in parts]
    return np.concatenate([nothing, *arrays], axis=1)
