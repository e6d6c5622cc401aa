"""What scoring costs at the size of COCO val2017: both engines, and how sure the numbers are."""

import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import psutil

from cpn.benchmark.report import Report
from cpn.evaluation.bootstrap import RESAMPLES, bootstrap
from cpn.evaluation.coco_api import CocoEvaluation, Engine
from cpn.evaluation.coco_keypoints import COCO_METRICS
from cpn.process.pool import process_pool
from cpn.skeleton import COCO_17

POSES_PER_PERSON = 3
K = COCO_17.num_keypoints

FloatArray = npt.NDArray[np.float64]


class Size(NamedTuple):
    """How many of everything."""

    images: int
    people: int
    results: int


# With as many detections as the field's papers score on it.
VAL2017 = Size(5000, 6352, 104_125)


class Scored(NamedTuple):
    """One engine's work; `peak` is what it added to the memory of the process, in bytes."""

    seconds: float
    peak: int
    numbers: list[float]
    bootstrap_seconds: float


def measure_engines(report: Report, size: Size) -> None:
    """Both engines on the same generated case, each in a process of its own."""
    found: dict[Engine, Scored] = {}
    engines: tuple[Engine, ...] = ("pycocotools", "hotcoco")
    for engine in engines:
        with process_pool(1) as pool:
            found[engine] = pool.submit(_scored, engine, size).result()
        report.add(f"val2017 size: {engine}", "s", found[engine].seconds)
        report.add(f"val2017 size: {engine}, memory", "MiB", found[engine].peak / 2**20)
    reference, fast = found["pycocotools"], found["hotcoco"]
    report.add("val2017 size: hotcoco over pycocotools", "x", reference.seconds / fast.seconds)
    pairs = zip(reference.numbers, fast.numbers, strict=True)
    equal = sum(a == b for a, b in pairs)
    report.require("val2017 size: equal numbers of the ten", equal, "at least", len(COCO_METRICS))
    seconds = fast.bootstrap_seconds
    report.require(f"val2017 size: {RESAMPLES} resamples in s", seconds, "at most", 60.0)


def _scored(engine: Engine, size: Size) -> Scored:
    document, results = made_up_case(size)
    process = psutil.Process()
    before, start = process.memory_info().rss, time.perf_counter()
    evaluation = CocoEvaluation(
        document, results, kind="keypoints", sigmas=COCO_17.sigmas, engine=engine
    )
    numbers = evaluation.statistics().tolist()
    seconds, peak = time.perf_counter() - start, process.memory_info().rss - before
    matches = evaluation.matches()
    start = time.perf_counter()
    bootstrap(matches)
    return Scored(seconds, peak, numbers, time.perf_counter() - start)


def made_up_case(size: Size, seed: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A made-up ground truth and results.

    Everyone has some poses of different quality; the rest is on the background. There are crowds
    and people without keypoints.
    """
    random = np.random.default_rng(seed)
    people = [_person(random, number, size) for number in range(size.people)]
    results = [
        _pose_of(random, person, rank) for person in people for rank in range(POSES_PER_PERSON)
    ]
    results += [_pose_on_background(random, size) for _ in range(size.results - len(results))]
    document = {
        "images": [{"id": number} for number in range(1, size.images + 1)],
        "annotations": people,
        "categories": [{"id": 1, "name": "person"}],
    }
    return document, results


def _person(random: np.random.Generator, number: int, size: Size) -> dict[str, Any]:
    box, points = _somewhere(random)
    visibility = random.choice([0, 1, 2], K, p=[0.3, 0.1, 0.6]) * (random.random() > 0.05)
    keypoints = np.c_[points * (visibility > 0)[:, None], visibility]
    return {
        "id": number + 1,
        "image_id": int(random.integers(1, size.images + 1)),
        "category_id": 1,
        "bbox": box.tolist(),
        "area": float(0.6 * box[2] * box[3]),
        "iscrowd": int(random.random() < 0.01),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((visibility > 0).sum()),
    }


def _pose_of(random: np.random.Generator, person: dict[str, Any], rank: int) -> dict[str, Any]:
    keypoints = np.reshape(person["keypoints"], (K, 3))
    spread = 2 * np.sqrt(person["area"]) * np.array(COCO_17.sigmas)[:, None]
    quality = random.choice([0.5, 1.0, 2.0]) * (1 + rank)
    points = keypoints[:, :2] + quality * spread * random.normal(size=(K, 2))
    score = float(np.clip(random.normal(0.8 - 0.2 * rank, 0.15), 0, 1))
    return _result(person["image_id"], points, score)


def _pose_on_background(random: np.random.Generator, size: Size) -> dict[str, Any]:
    image_id = int(random.integers(1, size.images + 1))
    return _result(image_id, _somewhere(random)[1], float(0.6 * random.random()))


def _somewhere(random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """A box xywh in a photo of 640 x 480, and K points in it."""
    size = random.uniform((20, 30), (300, 400))
    corner = random.uniform(0, (340, 240))
    return np.concatenate([corner, size]), corner + size * random.random((K, 2))


def _result(image_id: int, points: FloatArray, score: float) -> dict[str, Any]:
    keypoints = np.c_[points, np.full(K, score)].ravel().tolist()
    return {"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": score}
