"""What AP would be if one kind of mistake were mended: the kinds one by one and in turn."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

from cpn.evaluation.diagnosis.correction import Correction, Placement, Score
from cpn.evaluation.diagnosis.diagnosis import Diagnosis
from cpn.evaluation.diagnosis.keypoint_errors import KeypointError


class Mistake(StrEnum):
    """The kinds of mistakes, in the order in which the paper mends them."""

    MISS = "miss"
    SWAP = "swap"
    INVERSION = "inversion"
    JITTER = "jitter"
    SCORE = "score"
    FALSE_POSITIVE = "false_positive"
    FALSE_NEGATIVE = "false_negative"


class Fix(NamedTuple):
    """The numbers with a mistake mended.

    Attributes:
        mistake: the kind.
        alone: the evaluator's numbers if only this kind were mended.
        progressive: with all kinds before this one mended, too.
    """

    mistake: Mistake
    alone: Mapping[str, float]
    progressive: Mapping[str, float]


class Fixes(NamedTuple):
    """The result of `score_fixes`.

    Attributes:
        baseline: the evaluator's numbers as things are.
        fixes: one for each kind, in the paper's order; the last one's `progressive` has all mended.
    """

    baseline: Mapping[str, float]
    fixes: tuple[Fix, ...]

    def gain(self, mistake: Mistake, metric: str = "AP") -> float:
        """How much a number grows if only this kind is mended; NaN where nobody is there."""
        fixed = next(fix for fix in self.fixes if fix.mistake is mistake)
        return fixed.alone[metric] - self.baseline[metric]


def score_fixes(diagnosis: Diagnosis, score: Score, *, placement: Placement = "truth") -> Fixes:
    """Evaluate as things are, with each kind of mistake mended, and with one after another mended.

    That is 14 evaluations. What is mended: keypoints of matched people move to their place (see
    `mended_points`), scores get the best order, false positives go, people not found are ignored.
    In turn, the last three are told anew in what the ones before them leave, as in the paper.
    Keypoints on the truth, all mended, give an AP of 1 if the good keypoints are on the truth, too;
    what is missing to 1 is the distance within which a keypoint counts as good.

    Args:
        diagnosis: the mistakes.
        score: evaluates; called with results that are at most 20 for an image, and with a ground
            truth where people not found are marked as crowds.
        placement: where a mended keypoint goes.
    """
    start = turn = Correction.none(diagnosis)
    baseline = start.evaluated(score)
    fixes = []
    for mistake in Mistake:
        # The first kind is mended first: both ways are the same.
        alone = _mended(start, mistake, placement).evaluated(score)
        first = turn is start
        turn = _mended(turn, mistake, placement)
        fixes.append(Fix(mistake, alone, alone if first else turn.evaluated(score)))
    return Fixes(baseline, tuple(fixes))


def _mended(correction: Correction, mistake: Mistake, placement: Placement) -> Correction:
    steps: dict[Mistake, Callable[[], Correction]] = {
        Mistake.SCORE: correction.scores_mended,
        Mistake.FALSE_POSITIVE: correction.false_positives_removed,
        Mistake.FALSE_NEGATIVE: correction.false_negatives_ignored,
    }
    if mistake in steps:
        return steps[mistake]()
    return correction.keypoints_mended(KeypointError[mistake.name], placement)
