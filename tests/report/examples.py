"""Reports to test with: people with errors of every kind put into their true poses.

`python -m tests.report.examples FOLDER OUT` makes one from the photos of CPN_PEOPLE's layout, and
with `--people 6352 --detections 104125` one as large as COCO val2017's; it says bytes and seconds.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cpn.evaluation.oks import oks
from cpn.report.data import (
    Calibration,
    Curve,
    CurveGroup,
    ErrorBreakdown,
    ErrorType,
    Figure,
    GalleryItem,
    KeypointRow,
    KeypointType,
    Kind,
    ReliabilityBin,
    ReportData,
    Slice,
)
from cpn.skeleton import COCO_17

FloatArray = NDArray[np.float64]
METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL")
PARTS = {"head": range(5), "arms": range(5, 11), "legs": range(11, 17)}
WRONG = [kind for kind in KeypointType if kind is not KeypointType.GOOD]
COLUMN = np.array(
    [
        *([50, 14], [54, 10], [46, 10], [58, 13], [42, 13], [66, 34], [34, 34], [74, 54], [26, 54]),
        *([76, 72], [24, 72], [60, 80], [40, 80], [62, 108], [38, 108], [63, 134], [37, 134]),
    ],
    dtype=np.float64,
)


def small_report(folder: Path, *, people: int = 40, seed: int = 0) -> ReportData:
    """A drawn photo and people in it; the last one's photo is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    photo = folder / "photo <b>.png"
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    cv2.imwrite(str(photo), cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC))
    items = []
    for index in range(people):
        shift = rng.uniform(0, 1, 2) * (200, 80)
        truth = np.column_stack([COLUMN + shift, np.full(17, 2.0)])
        truth[rng.random(17) < 0.2, 2] = 0
        truth[0, 2] = 2
        left, top = shift.tolist()
        box = [left + 15, top, 70.0, 145.0]
        items.append(_item(truth, box, photo, 100 + index // 2, 500 + index, rng))
    items[-1] = replace(items[-1], photo=folder / "missing.jpg")
    return _report(items, rng, title="small <script>alert(1)</script>")


def people_report(
    folder: Path, *, split: str = "val", people: int | None = None, detections: int = 0
) -> ReportData:
    """Real photos; `people` repeats them up to that many, `detections` adds false positives."""
    document = json.loads((folder / f"annotations/person_keypoints_{split}.json").read_text())
    names = {image["id"]: folder / "images" / image["file_name"] for image in document["images"]}
    rng = np.random.default_rng(0)
    known = [x for x in document["annotations"] if x["num_keypoints"] > 0]
    items = []
    for index in range(people or len(known)):
        one = known[index % len(known)]
        truth = np.array(one["keypoints"], dtype=np.float64).reshape(-1, 3)
        photo = names[one["image_id"]]
        items.append(_item(truth, one["bbox"], photo, one["image_id"], index, rng))
    items += _background(items, detections - len(items), rng)
    return _report(items, rng, title="CPN-50 256x192, shared/people")


def _item(
    truth: FloatArray,
    box: Sequence[float],
    photo: Path,
    image_id: int,
    index: int,
    rng: np.random.Generator,
) -> GalleryItem:
    """A person found well or badly; now and then nobody, or somebody where nobody is."""
    size = float(np.sqrt(box[2] * box[3]))
    chance = rng.random()
    if chance < 0.05:
        return GalleryItem([Kind.FALSE_NEGATIVE], image_id, photo, box, index, truth=truth)
    predicted, types = _disturbed(truth, size, rng)
    score = float(rng.beta(5, 2))
    if chance < 0.12:
        moved = predicted + np.array([0.4 * size, 0, 0])
        away = [box[0] + 0.4 * size, *box[1:]]
        kinds = [Kind.FALSE_POSITIVE]
        return GalleryItem(kinds, image_id, photo, away, None, index, None, score, None, moved)
    similarity = oks(
        truth[None],
        predicted[None, :, :2],
        areas=np.array([0.6 * size**2]),
        boxes_xywh=np.array([box]),
        sigmas=COCO_17.sigmas,
    )
    kinds = [Kind(kind) for kind in WRONG if kind in types]
    kinds += [Kind.SCORE] if rng.random() < 0.04 else []
    value = float(similarity[0, 0])
    return GalleryItem(
        kinds, image_id, photo, box, index, index, value, score, truth, predicted, types
    )


def _disturbed(
    truth: FloatArray, size: float, rng: np.random.Generator
) -> tuple[FloatArray, list[KeypointType | None]]:
    predicted = truth.copy()
    predicted[truth[:, 2] == 0, :2] = truth[truth[:, 2] > 0, :2].mean(axis=0)
    predicted[:, :2] += rng.normal(0, 0.01 * size, (17, 2))
    predicted[:, 2] = rng.beta(6, 2, 17)
    types: list[KeypointType | None] = [
        KeypointType.GOOD if seen else None for seen in truth[:, 2] > 0
    ]
    spoiled = rng.random() < 0.35
    for k in np.flatnonzero(truth[:, 2] > 0):
        if not spoiled or rng.random() > 0.2:
            continue
        kind = WRONG[rng.integers(len(WRONG))]
        far = {KeypointType.JITTER: 0.06, KeypointType.MISS: 0.4}.get(kind, 0.2)
        predicted[k, :2] += rng.normal(0, far * size, 2)
        mirrored = COCO_17.flip_permutation[k]
        if kind is KeypointType.INVERSION and truth[mirrored, 2] > 0:
            predicted[k, :2] = truth[mirrored, :2]
        types[k] = kind
    return predicted, types


def _background(
    items: Sequence[GalleryItem], count: int, rng: np.random.Generator
) -> list[GalleryItem]:
    """Detections of nobody, as many as a detector gives."""
    found = [item for item in items if item.predicted is not None]
    sources = rng.integers(0, len(found), max(count, 0))
    scores = rng.beta(1, 8, max(count, 0))
    return [
        replace(
            found[source],
            kinds=[Kind.FALSE_POSITIVE],
            annotation_id=None,
            result_index=len(items) + index,
            oks=None,
            score=float(score),
            truth=None,
            keypoint_types=None,
        )
        for index, (source, score) in enumerate(zip(sources, scores, strict=True))
    ]


def _report(items: Sequence[GalleryItem], rng: np.random.Generator, *, title: str) -> ReportData:
    values = np.linspace(0.92, 0.48, 10)
    areas = {"medium": 0.68, "large": 0.79}
    errors = [
        ErrorType(str(kind), _count(items, kind), 0.712 + 0.02 * (1 + place))
        for place, kind in enumerate(WRONG)
    ]
    errors += [
        ErrorType("score", 210, 0.741, "A better pose of the same person had a lower score."),
        ErrorType("background false positive", 812, 0.716, "No person is there."),
        ErrorType("false negative", 301, 0.749, "A person that no detection was matched to."),
    ]
    return ReportData(
        title=title,
        created=datetime(2026, 11, 23, 15, 4, tzinfo=UTC),
        command_line="python scripts/evaluate.py checkpoint=runs/people/best.safetensors report=1",
        box_source="ground truth",
        skeleton=COCO_17,
        num_images=len({item.image_id for item in items}),
        num_people=sum(item.annotation_id is not None for item in items),
        num_detections=sum(item.predicted is not None for item in items),
        headline={
            name: _figure(0.712 + 0.02 * (at % 5 - 1), rng) for at, name in enumerate(METRICS)
        },
        interval_note="95 % bootstrap over images, 1,000 resamples",
        facts={
            "checkpoint": "runs/people/best.safetensors",
            "model": "CPN ResNet-50, levels 2-5",
            "input": "256 x 192",
            "data": "shared/people, val",
            "flip test": "yes",
            "score": "box x mean keypoint",
        },
        curves=[
            CurveGroup(
                "by OKS threshold",
                [
                    _curve(f"OKS {0.5 + 0.05 * at:.2f}", top, 0.96 - 0.03 * at)
                    for at, top in enumerate(values)
                ],
            ),
            CurveGroup(
                "by area, mean over OKS", [_curve(x, top, 0.85) for x, top in areas.items()]
            ),
        ],
        keypoints=[_row(items, name, [k], rng) for k, name in enumerate(COCO_17.keypoint_names)],
        parts=[_row(items, name, list(ks), rng) for name, ks in PARTS.items()],
        errors=ErrorBreakdown(errors, 0.712, "mean over OKS 0.50 to 0.95, all areas"),
        slices=_slices(rng),
        calibration=[_calibration("as predicted", 0.09), _calibration("after fitting", 0.01)],
        gallery=items,
    )


def _figure(value: float, rng: np.random.Generator, *, half: float = 0.013) -> Figure:
    width = half * float(rng.uniform(0.7, 1.3))
    return Figure(value, value - width, value + 0.9 * width)


def _curve(name: str, top: float, end: float) -> Curve:
    recall = np.linspace(0, 1, 101)
    precision = np.where(recall < end, np.clip(top + 0.08 - 0.35 * (recall / end) ** 6, 0, 1), 0.0)
    return Curve(name, recall, precision, float(precision.mean()))


def _count(items: Sequence[GalleryItem], kind: KeypointType) -> int:
    return sum(list(item.keypoint_types or ()).count(kind) for item in items)


def _row(
    items: Sequence[GalleryItem], name: str, ks: Sequence[int], rng: np.random.Generator
) -> KeypointRow:
    types = [item.keypoint_types[k] for item in items if item.keypoint_types for k in ks]
    counts = {kind: types.count(kind) for kind in KeypointType}
    value = float(0.62 + 0.2 * rng.random())
    ap = {"all": value, "medium": value - 0.04, "large": value + 0.05}
    pck = counts[KeypointType.GOOD] / max(sum(counts.values()), 1)
    return KeypointRow(name, {area: _figure(x, rng) for area, x in ap.items()}, pck, counts)


def _slices(rng: np.random.Generator) -> list[Slice]:
    groups = {
        "visible keypoints": ["1-5", "6-10", "11-15", "16-17"],
        "overlap (IoU)": ["none", "0-0.1", "0.1-0.3", "over 0.3"],
        "box size": ["32-64 px", "64-128 px", "128-256 px", "over 256 px"],
        "aspect (h / w)": ["below 0.75", "0.75-1.5", "1.5-3", "over 3"],
    }
    return [
        Slice(
            group, name, int(rng.integers(20, 2000)), _figure(0.5 + 0.09 * at, rng, half=0.03), 0.7
        )
        for group, names in groups.items()
        for at, name in enumerate(names)
    ]


def _calibration(name: str, ece: float) -> Calibration:
    bins = []
    for at in range(10):
        low, mean = at / 10, at / 10 + 0.05
        count = 0 if at == 0 else int(4000 * np.exp(-0.4 * at)) + 40
        bins.append(
            ReliabilityBin(low, low + 0.1, count, mean, min(mean + 2 * ece * (1 - mean), 1))
        )
    return Calibration(name, bins, ece)


def main() -> None:
    from cpn.report.gallery import GalleryLimits  # noqa: PLC0415 - the import is timed
    from cpn.report.page import write_report  # noqa: PLC0415

    parser = argparse.ArgumentParser(description="An example report, its bytes and seconds.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--people", type=int)
    parser.add_argument("--detections", type=int, default=0)
    asked = parser.parse_args()
    data = people_report(
        asked.folder, split=asked.split, people=asked.people, detections=asked.detections
    )
    start = time.perf_counter()
    size = write_report(data, asked.out, limits=GalleryLimits())
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    seconds = time.perf_counter() - start
    logging.info("%d items: %d bytes in %.1f s", len(data.gallery), size, seconds)


if __name__ == "__main__":
    main()
