"""Mistakes of the scores: a worse detection of a person that is ranked above a better one.

Source: Ronchi and Perona, ICCV 2017, section 3.2.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.diagnosis.instances import People, Scene
from cpn.evaluation.diagnosis.matching import MATCH_THRESHOLD, NOBODY, Nearest


def better_detections(
    nearest: Nearest, matched: NDArray[np.intp], similarities: NDArray[np.float64]
) -> NDArray[np.intp]:
    """For each person the detection that should have had the highest score, where another had it.

    Of the detections that are more like this person than like anyone else, the best one; if it
    beats the detection that the person was matched with, that one's higher score was a mistake.

    Args:
        nearest: of the D detections that count.
        matched: (G,) index of the detection each person was matched with, -1 for none.
        similarities: (G,) OKS with it.

    Returns:
        (G,) index of the better detection, -1 where there is none.
    """
    better = np.full(len(matched), NOBODY, dtype=np.intp)
    near = np.flatnonzero(nearest.similarities >= MATCH_THRESHOLD)
    # Ascending by similarity: of several detections of a person the assignment keeps the last.
    near = near[np.argsort(nearest.similarities[near], kind="stable")]
    better[nearest.people[near]] = near
    mistaken = (matched != NOBODY) & (better != NOBODY)
    mistaken[mistaken] = nearest.similarities[better[mistaken]] > similarities[mistaken]
    return np.where(mistaken, better, NOBODY)


def optimal_scores(
    scenes: Iterable[Scene], people: People, *, num_detections: int
) -> NDArray[np.float64]:
    """Scores in the order that serves AP: by how good a detection is, each person's best first.

    In each image the most similar pair of detection and person (OKS from 0.1 on) is taken, then
    the most similar one of the rest, and so on; the OKS is the score. Detections that are left
    over come after all of them, in -1..0. Where Ronchi and Perona lower the scores of doubles by
    soft-NMS, this tells doubles by the truth. Taking pairs greedily is not always the best
    assignment: in a knot of people whom two detections resemble about equally it can lose one.

    Returns:
        (D,) scores.
    """
    scores = np.full(num_detections, -1.0)
    counted = people.counted
    for scene in scenes:
        similarities = scene.similarities[:, counted[scene.people]]
        scores[scene.detections] = similarities.max(axis=1, initial=0.0) - 1
        rows, columns = np.nonzero(similarities >= MATCH_THRESHOLD)
        order = np.argsort(-similarities[rows, columns], kind="stable")
        free_rows, free_columns = set(rows.tolist()), set(columns.tolist())
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
            if row in free_rows and column in free_columns:
                free_rows.remove(row)
                free_columns.remove(column)
                scores[scene.detections[row]] = similarities[row, column]
    return scores
