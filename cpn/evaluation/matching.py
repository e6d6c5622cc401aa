"""Which result found which person, as COCO's evaluation decides it: all that AP is made of.

COCO's numbers follow from it in milliseconds, for any weights of the images. Resampling images, as
a bootstrap does, changes weights and never a match.

Legend: A area classes, T thresholds, D results, G people, I images, R sets of weights, M numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]

RECALLS = np.linspace(0.0, 1.0, 101)  # at which precision is averaged (COCO)
EPSILON = float(np.spacing(1))  # of pycocotools' precision
WEIGHTS_AT_ONCE = 16  # keeps what is in work in the processor's cache

# What a number averages: area class, threshold (None: all), precision or recall.
Average: TypeAlias = tuple[int, float | None, Literal["precision", "recall"]]
# The ten numbers of COCO's keypoint evaluation.
KEYPOINT_AVERAGES: tuple[Average, ...] = (
    *((0, None, "precision"), (0, 0.5, "precision"), (0, 0.75, "precision")),
    *((1, None, "precision"), (2, None, "precision")),
    *((0, None, "recall"), (0, 0.5, "recall"), (0, 0.75, "recall")),
    *((1, None, "recall"), (2, None, "recall")),
)


@dataclass(frozen=True, eq=False)
class Matches:
    """The outcome of matching results with people, per area class and threshold of OKS or box IoU.

    The area classes are all, medium and large; of boxes all, small, medium and large. Ignored are
    results on crowds, on people without labelled keypoints, and those outside the area class; they
    are neither right nor wrong.

    Attributes:
        image_ids: (I,) int64.
        thresholds: (T,) of OKS or IoU.
        result_images: (D,) positions in `image_ids`; results by falling score, 20 per image at most
            (COCO's maxDets; 100 boxes), equal scores in the order of the images.
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

    def of_all_sizes(self) -> Self:
        """Without the classes of medium and large people, whose numbers become NaN: faster."""
        first = {name: getattr(self, name)[:1] for name in ("matched", "ignored", "counted")}
        return replace(self, **first)

    def best_of_each_image(self, most: int) -> Self:
        """With at most so many results of each image: its first ones.

        COCO matches results of an image from the best one on, so that a match depends on no worse
        result.
        """
        by_image = np.argsort(self.result_images, kind="stable")
        counts = np.bincount(self.result_images, minlength=len(self.image_ids))
        ranks = np.empty_like(by_image)
        ranks[by_image] = np.arange(len(by_image)) - np.repeat(np.cumsum(counts) - counts, counts)
        kept = ranks < most
        of_results = ("result_images", "result_numbers", "scores", "matched", "ignored")
        return replace(self, **{name: getattr(self, name)[..., kept] for name in of_results})

    def precisions(self) -> FloatArray:
        """(A, T, 101) precision at the recalls `RECALLS`; NaN without people to find."""
        ones = np.ones((1, len(self.image_ids)), dtype=np.int64)
        return np.asarray(self._curves(ones)[0][0])

    def statistics(
        self, weights: IntArray | None = None, averages: Sequence[Average] = KEYPOINT_AVERAGES
    ) -> FloatArray:
        """Numbers of COCO's evaluation, NaN where there is nobody to find.

        Args:
            weights: (R, I) how often each image counts, 0 or more; None: each once.
            averages: the M numbers; the ten of keypoints if not told.

        Returns:
            (R, M); (M,) without weights, equal to pycocotools' to the last bit.
        """
        if weights is None:
            ones = np.ones((1, len(self.image_ids)), dtype=np.int64)
            return np.asarray(self.statistics(ones, averages)[0])
        parts = []
        for start in range(0, len(weights), WEIGHTS_AT_ONCE):
            precision, recall = self._curves(weights[start : start + WEIGHTS_AT_ONCE])
            parts.append(self._averages(precision, recall, averages))
        return np.concatenate(parts) if parts else np.zeros((0, len(averages)))

    def _averages(
        self, precision: FloatArray, recall: FloatArray, averages: Sequence[Average]
    ) -> FloatArray:
        kinds = {"precision": precision, "recall": recall[..., None]}
        columns = []
        for area, threshold, kind in averages:
            if area >= len(self.matched):
                columns.append(np.full(len(precision), np.nan))
                continue
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
        of_results = weights[:, self.result_images]
        for area, (judged, levels) in enumerate(self._places):
            people = weights[:, self.person_images[self.counted[area]]].sum(axis=1)
            there, needed = people > 0, _people_needed(people)
            up_to = np.cumsum(of_results[:, judged], axis=1)
            for level, places in enumerate(levels):
                right = np.cumsum(of_results[:, places.found], axis=1)
                spared = np.cumsum(of_results[:, places.spared], axis=1)
                spared = np.concatenate([np.zeros((len(weights), 1), np.int64), spared], axis=1)
                total = up_to[:, places.among_judged] - spared[:, places.spared_before]
                shares = right / (total + EPSILON)
                precision[there, area, level] = _at_recalls(right, shares, needed)[there]
                last = right[there, -1] if len(places.found) else 0
                recall[there, area, level] = last / people[there]
        return precision, recall

    @cached_property
    def _places(self) -> list[tuple[IntArray, list["_Places"]]]:
        """Per area class: the results that some threshold judges, and `_Places` per threshold."""
        found = self.matched & ~self.ignored
        per_class = []
        for area, ignored in enumerate(self.ignored):
            judged = ~ignored.all(axis=0)
            rank = np.cumsum(judged) - 1
            levels = []
            for level in range(len(ignored)):
                places = np.flatnonzero(found[area, level])
                spared = np.flatnonzero(ignored[level] & judged)
                before = np.searchsorted(spared, places)
                levels.append(_Places(places, rank[places], spared, before))
            per_class.append((np.flatnonzero(judged), levels))
        return per_class


class _Places(NamedTuple):
    """What precision is computed from at one threshold, so that few results need be summed over.

    Attributes:
        found: (P,) the results that found a person, by falling score.
        among_judged: (P,) their places among the results that some threshold judges.
        spared: (S,) results that this threshold ignores and another one judges.
        spared_before: (P,) how many of those come before each of `found`.
    """

    found: IntArray
    among_judged: IntArray
    spared: IntArray
    spared_before: IntArray


def _people_needed(people: IntArray) -> IntArray:
    """(R, 101) the fewest people found that make each recall of `RECALLS`, of (R,) people.

    In floating point, as pycocotools compares: n / people >= recall.
    """
    needed = np.ceil(RECALLS * people[:, None]).astype(np.int64)
    divisor = np.maximum(people, 1)[:, None]
    needed -= (needed - 1) / divisor >= RECALLS
    return np.asarray(needed + (needed / divisor < RECALLS))


def _at_recalls(right: IntArray, precision: FloatArray, needed: IntArray) -> FloatArray:
    """(R, 101) the highest precision where at least the `needed` people are found; 0 beyond.

    The points are those at which a person was found. Between them precision only falls, so no
    other one counts.

    Args:
        right: (R, P) people found, rising.
        precision: (R, P).
        needed: (R, 101).
    """
    rows, points = right.shape
    highest = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    highest = np.concatenate([highest, np.zeros((rows, 1))], axis=1)
    # One search in all rows: what is added lifts each row above the one before.
    lift = np.arange(rows)[:, None] * (max(needed.max(initial=0), right.max(initial=0)) + 1)
    found = np.searchsorted((right + lift).ravel(), needed + lift, side="left")
    return np.asarray(
        np.take_along_axis(highest, found - np.arange(rows)[:, None] * points, axis=1)
    )


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
