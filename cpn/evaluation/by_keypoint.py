"""AP of single keypoints and of parts of the body."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec

from cpn.evaluation.coco_api import Engine
from cpn.evaluation.coco_keypoints import KeypointEvaluation, match_keypoints
from cpn.evaluation.ground_truth import GroundTruth
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import Skeleton

HEAD_WORDS = ("nose", "eye", "ear", "head")
SIDES = ("left", "right")


def body_parts(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Indices of the keypoints of each part, told by their names.

    "head" is made of nose, eyes, ears and what else is called head; every other part of a keypoint
    and its counterpart on the other side. Each keypoint is in one part.
    """
    parts: dict[str, list[int]] = {}
    for k, name in enumerate(skeleton.keypoint_names):
        words = [word for word in name.lower().replace("-", "_").split("_") if word not in SIDES]
        is_head = any(word in HEAD_WORDS for word in words)
        parts.setdefault("head" if is_head else " ".join(words), []).append(k)
    return {name: tuple(indices) for name, indices in parts.items()}


def metrics_by_keypoint(
    truth: GroundTruth,
    results: Sequence[KeypointResult],
    skeleton: Skeleton,
    *,
    engine: Engine = "hotcoco",
) -> dict[str, dict[str, float]]:
    """The ten COCO numbers of every keypoint, by its name; see `match_subset`."""
    single = {name: (k,) for k, name in enumerate(skeleton.keypoint_names)}
    return metrics_by_subset(truth, results, skeleton, single, engine=engine)


def metrics_by_subset(
    truth: GroundTruth,
    results: Sequence[KeypointResult],
    skeleton: Skeleton,
    subsets: Mapping[str, Sequence[int]],
    *,
    engine: Engine = "hotcoco",
) -> dict[str, dict[str, float]]:
    """The ten COCO numbers of sets of keypoints, as `body_parts` gives them; see `match_subset`."""
    return {
        name: match_subset(truth, results, skeleton, indices, engine=engine).metrics
        for name, indices in subsets.items()
    }


def match_subset(
    truth: GroundTruth,
    results: Sequence[KeypointResult],
    skeleton: Skeleton,
    indices: Sequence[int],
    *,
    engine: Engine = "hotcoco",
) -> KeypointEvaluation:
    """`match_keypoints` as if only these keypoints existed.

    OKS is taken over them alone; people for whom none of them is labelled are ignored, as COCO
    ignores people without any. The results keep their scores, and their areas.
    """
    return match_keypoints(
        _truth_of(truth, indices),
        [_result_of(result, indices) for result in results],
        sigmas=[skeleton.sigmas[k] for k in indices],
        engine=engine,
    )


def _truth_of(truth: GroundTruth, indices: Sequence[int]) -> GroundTruth:
    persons = tuple(
        msgspec.structs.replace(person, keypoints=_triples(person.keypoints, indices))
        for person in truth.persons
    )
    return replace(truth, persons=persons, keypoint_names=())


def _result_of(result: KeypointResult, indices: Sequence[int]) -> KeypointResult:
    """With the box that COCO would give it by all of its keypoints: it decides about its size."""
    box = result.bbox
    if not box:
        x, y = result.keypoints[::3], result.keypoints[1::3]
        left, top = min(x), min(y)
        box = [left, top, max(x) - left, max(y) - top]
    return KeypointResult(
        result.image_id,
        result.category_id,
        _triples(result.keypoints, indices),
        result.score,
        box,
    )


def _triples(flat: list[float], indices: Sequence[int]) -> list[float]:
    """x, y, v of some keypoints; an unlabelled person may have none at all."""
    return [number for k in indices for number in flat[3 * k : 3 * k + 3]]
