"""Put mistakes of one kind into perfect predictions and count how many are diagnosed as such.

    python -m tests.error_recovery [--images 300] [--seed 0]

People of 17 keypoints stand side by side in images of one to three, facing the camera, of different
sizes, their boxes overlapping; some keypoints are not labelled. Places are drawn without asking
what the diagnosis would say of them: a jitter may by chance lie nearer to the other person's hip.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.diagnosis import Diagnosis, KeypointError, diagnose
from cpn.evaluation.ground_truth import GroundTruth, Person
from cpn.evaluation.results import KeypointResult
from cpn.skeleton import COCO_17

# Nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; in heights of the person.
BODY = np.array(
    [
        *((0.0, 0.08), (0.025, 0.065), (-0.025, 0.065), (0.045, 0.075), (-0.045, 0.075)),
        *((0.12, 0.2), (-0.12, 0.2), (0.2, 0.34), (-0.2, 0.34), (0.24, 0.48), (-0.24, 0.48)),
        *((0.11, 0.52), (-0.11, 0.52), (0.13, 0.74), (-0.13, 0.74), (0.15, 0.96), (-0.15, 0.96)),
    ]
)
FLIP = np.array(COCO_17.flip_permutation)
SIGMAS = np.array(COCO_17.sigmas)
WRONG_EACH = 3  # keypoints of a person: the rest still tells whose the detection is
Poses = NDArray[np.float64]


class Recovery(NamedTuple):
    """Of one kind of mistake: how many were put in, and what they were diagnosed as."""

    kind: str
    injected: int
    diagnosed: Counter[str]

    @property
    def share(self) -> float:
        return self.diagnosed[self.kind] / self.injected


class Crowd(NamedTuple):
    """People (G, 17, 3) with their images (G,) and heights (G,), and as a ground truth."""

    truth: GroundTruth
    poses: Poses
    images: NDArray[np.int64]
    heights: NDArray[np.float64]


def draw_people(num_images: int, rng: np.random.Generator) -> Crowd:
    """Two people an image on average; a tenth of the keypoints unlabelled, a tenth occluded."""
    persons: list[Person] = []
    poses, heights = [], []
    for image_id in range(1, num_images + 1):
        x = 100.0
        for _ in range(rng.integers(1, 4)):
            height = rng.uniform(80, 400)
            points = (x, rng.uniform(50, 150)) + height * (BODY + rng.normal(0, 0.005, (17, 2)))
            pose = np.c_[points, rng.choice([0, 1, 2], 17, p=[0.1, 0.1, 0.8])]
            low, size = points.min(axis=0), np.ptp(points, axis=0)
            area = 0.3 * size.prod()
            box = [*low.tolist(), *size.tolist()]
            flat = (pose * (pose[:, 2:] > 0)).ravel().tolist()
            persons.append(Person(len(persons) + 1, image_id, flat, box, area, 0))
            poses.append(pose)
            heights.append(height)
            x += height * rng.uniform(0.35, 0.6)
    ids = tuple(range(1, num_images + 1))
    truth = GroundTruth("drawn", 1, COCO_17.keypoint_names, ids, tuple(persons))
    images = np.array([person.image_id for person in persons])
    return Crowd(truth, np.array(poses), images, np.array(heights))


def _offset(similarity: float, k: int, person: Person, rng: np.random.Generator) -> Poses:
    """In any direction, as far as makes this similarity."""
    angle = rng.uniform(0, 2 * np.pi)
    length = np.sqrt(-8 * np.log(similarity) * person.area) * SIGMAS[k]
    return np.asarray(length * np.array([np.cos(angle), np.sin(angle)]))


def _jitter(crowd: Crowd, index: int, k: int, rng: np.random.Generator) -> Poses | None:
    person = crowd.truth.persons[index]
    return np.asarray(crowd.poses[index, k, :2] + _offset(rng.uniform(0.52, 0.83), k, person, rng))


def _inversion(crowd: Crowd, index: int, k: int, rng: np.random.Generator) -> Poses | None:
    partner, person = crowd.poses[index, FLIP[k]], crowd.truth.persons[index]
    if FLIP[k] == k or partner[2] == 0:
        return None
    return np.asarray(partner[:2] + _offset(rng.uniform(0.7, 1.0), k, person, rng))


def _swap(crowd: Crowd, index: int, k: int, rng: np.random.Generator) -> Poses | None:
    others = np.flatnonzero(crowd.images == crowd.images[index])
    others = others[(others != index) & (crowd.poses[others, k, 2] > 0)]
    if not len(others):
        return None
    other = rng.choice(others)
    near = _offset(rng.uniform(0.7, 1.0), k, crowd.truth.persons[other], rng)
    return np.asarray(crowd.poses[other, k, :2] + near)


def _miss(crowd: Crowd, index: int, k: int, rng: np.random.Generator) -> Poses | None:
    angle, far = rng.uniform(0, 2 * np.pi), crowd.heights[index] * rng.uniform(0.6, 2.0)
    return np.asarray(crowd.poses[index, k, :2] + far * np.array([np.cos(angle), np.sin(angle)]))


PLACES: dict[KeypointError, Callable[[Crowd, int, int, np.random.Generator], Poses | None]] = {
    KeypointError.JITTER: _jitter,
    KeypointError.INVERSION: _inversion,
    KeypointError.SWAP: _swap,
    KeypointError.MISS: _miss,
}


def perfect(crowd: Crowd, rng: np.random.Generator) -> list[KeypointResult]:
    """A result for everyone, in their order; scores in no order."""
    return [_result(crowd.images[i], crowd.poses[i], rng) for i in range(len(crowd.poses))]


def _result(image_id: int, pose: Poses, rng: np.random.Generator) -> KeypointResult:
    flat = np.c_[pose[:, :2], np.ones(17)].ravel().tolist()
    return KeypointResult(int(image_id), 1, flat, float(rng.uniform(0.3, 0.9)))


def with_keypoint_errors(
    crowd: Crowd, kind: KeypointError, rng: np.random.Generator
) -> tuple[list[KeypointResult], list[tuple[int, int]]]:
    """Perfect results but for up to three keypoints of everyone, and which those are."""
    wrong, predicted = [], crowd.poses.copy()
    for index, pose in enumerate(crowd.poses):
        labelled = np.flatnonzero(pose[:, 2] > 0)
        for k in rng.permutation(labelled)[:WRONG_EACH].tolist():
            place = PLACES[kind](crowd, index, k, rng)
            if place is not None:
                predicted[index, k, :2] = place
                wrong.append((index, k))
    return perfect(crowd._replace(poses=predicted), rng), wrong


def recover_keypoints(kind: KeypointError, num_images: int, seed: int) -> Recovery:
    """Put one kind of keypoint error in."""
    rng = np.random.default_rng(seed)
    crowd = draw_people(num_images, rng)
    results, wrong = with_keypoint_errors(crowd, kind, rng)
    persons = diagnose(crowd.truth, results, COCO_17).persons
    found = Counter(persons[index].errors[k].name for index, k in wrong)
    return Recovery(kind.name, len(wrong), found)


def recover_instances(num_images: int, seed: int) -> list[Recovery]:
    """Leave every tenth out, add a pose of the background, and a worse double with a higher score.

    Three runs, each with one of them.
    """
    rng = np.random.default_rng(seed)
    crowd = draw_people(num_images, rng)
    results, everyone = perfect(crowd, rng), range(len(crowd.poses))
    chosen = set(everyone[::10])
    kept = [result for index, result in enumerate(results) if index not in chosen]
    lost = [p.result is None for p in _diagnosis(crowd, kept).persons]
    hits = sum(lost[index] for index in chosen)

    elsewhere = crowd.poses + np.array([1500.0, 0.0, 0.0])
    ghosts = [_result(crowd.images[index], elsewhere[index], rng) for index in sorted(chosen)]
    false = {f.result for f in _diagnosis(crowd, results + ghosts).false_positives}
    found = sum(len(results) + number in false for number in range(len(ghosts)))

    worse = crowd.poses.copy()
    for index in chosen:
        for k in range(17):
            worse[index, k, :2] = _jitter(crowd, index, k, rng)
    doubles = [_result(crowd.images[index], worse[index], rng) for index in sorted(chosen)]
    higher = [KeypointResult(r.image_id, 1, r.keypoints, r.score + 1) for r in doubles]
    better = [p.better_result for p in _diagnosis(crowd, results + higher).persons]
    seen = sum(better[index] == index for index in chosen)
    return [
        Recovery(name, len(chosen), Counter({name: count, "not told": len(chosen) - count}))
        for name, count in (("FALSE_NEGATIVE", hits), ("BACKGROUND", found), ("SCORE", seen))
    ]


def _diagnosis(crowd: Crowd, results: Sequence[KeypointResult]) -> Diagnosis:
    return diagnose(crowd.truth, results, COCO_17)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    people = len(draw_people(options.images, np.random.default_rng(options.seed)).poses)
    sys.stdout.write(f"{people} people in {options.images} images\n")
    found = [recover_keypoints(kind, options.images, options.seed) for kind in PLACES]
    for row in [*found, *recover_instances(options.images, options.seed)]:
        others = ", ".join(
            f"{n} {kind}" for kind, n in row.diagnosed.items() if kind != row.kind and n
        )
        sys.stdout.write(
            f"{row.kind:15} {row.injected:6} put in, {row.share:7.2%} told  {others}\n"
        )


if __name__ == "__main__":
    main()
