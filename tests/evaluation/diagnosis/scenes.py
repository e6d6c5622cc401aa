"""People of three keypoints whose similarities are easy by hand.

(2 sigma)^2 = 1 and area 50: the similarity of a keypoint d pixels off is exp(-d^2 / 100). That is
0.852 for 4 pixels (good), 0.779 for 5 and 0.527 for 8 (jitter), 0.445 for 9 (not near).
"""

from collections.abc import Mapping, Sequence

from cpn.evaluation.coco_keypoints import evaluate_keypoints
from cpn.evaluation.diagnosis import Score
from cpn.evaluation.ground_truth import GroundTruth, Person
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import Skeleton

NAMES = ("head", "left_hand", "right_hand")
SKELETON = Skeleton(NAMES, ((1, 2),), (), (0.5, 0.5, 0.5))
ONE_SIDED = Skeleton(NAMES, (), (), (0.5, 0.5, 0.5))
BODY = ((50.0, 0.0), (0.0, 50.0), (100.0, 50.0))

Points = Sequence[tuple[float, float]]


def moved(points: Points, *, x: float = 0.0, y: float = 0.0) -> Points:
    return [(a + x, b + y) for a, b in points]


def person(
    annotation_id: int,
    points: Points = BODY,
    *,
    v: Sequence[int] = (2, 2, 2),
    image_id: int = 1,
    area: float = 50.0,
    crowd: bool = False,
    box: Sequence[float] = (0.0, 0.0, 100.0, 50.0),
) -> Person:
    keypoints = [
        float(number) for (x, y), seen in zip(points, v, strict=True) for number in (x, y, seen)
    ]
    return Person(annotation_id, image_id, keypoints, list(box), area, int(crowd))


def truth(*persons: Person, images: Sequence[int] = (1,)) -> GroundTruth:
    return GroundTruth("truth.json", 1, NAMES, tuple(images), persons)


def result(points: Points = BODY, *, score: float = 0.5, image_id: int = 1) -> KeypointResult:
    return KeypointResult(image_id, 1, [number for x, y in points for number in (x, y, 0.7)], score)


def scorer(skeleton: Skeleton = SKELETON) -> Score:
    def score(truth: GroundTruth, results: Sequence[KeypointResult]) -> Mapping[str, float]:
        return evaluate_keypoints(truth, results, sigmas=skeleton.sigmas)

    return score
