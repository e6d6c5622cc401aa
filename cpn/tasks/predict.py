"""Photos in, keypoints and pictures out."""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from cpn.config.schema import PredictConfig
from cpn.data.coco_schema import Box, decode_json_file, unusable_reason
from cpn.data.image_files import read_image
from cpn.engine.atomic import write_atomically
from cpn.errors import UserError
from cpn.geometry.boxes import xywh_to_xyxy
from cpn.predictor import Poses, Predictor
from cpn.visualization import draw_skeletons

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
Image = npt.NDArray[np.uint8]


class _Image(msgspec.Struct):
    id: int
    file_name: str


class _Category(msgspec.Struct):
    id: int
    name: str = ""
    keypoints: list[str] = []


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: Box
    iscrowd: int = 0


class _BoxFile(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category] = []


def predict(config: PredictConfig) -> Path:
    """Writes `predictions.json` and a picture with skeletons per photo.

    The picture of `a.jpg` is `pictures/a.jpg.png`.

    Returns:
        The path of `predictions.json`: one record per person with file_name, bbox (xywh),
        keypoints ([x, y, score] * K, pixel-index frame) and score.

    Raises:
        UserError: no image at the source, an unreadable image, boxes that fit no image, or
            predictions that are not finite.
    """
    predictor = Predictor.from_checkpoint(
        config.checkpoint, device=config.device, batch_size=config.batch_size
    )
    source = Path(config.source)
    paths = find_images(source)
    boxes = read_boxes(Path(config.boxes), source, paths) if config.boxes else None
    out = Path(config.out)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    for path in paths:
        image = read_image(path)
        poses = predictor(image, None if boxes is None else boxes[path])
        records += to_records(path, poses)
        shown = np.where(poses.scores >= config.keypoint_threshold, poses.scores, 0.0)
        picture = draw_skeletons(image, poses.keypoints, shown, predictor.skeleton)
        _write_picture(out / "pictures" / f"{path.name}.png", picture)
    written = out / "predictions.json"
    write_atomically(written, json.dumps(records, allow_nan=False).encode())
    logger.info("%d people in %d photos: %s, %s", len(records), len(paths), written, out)
    return written


def find_images(source: Path) -> list[Path]:
    """The image itself, or the images of a folder in the order of their names."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"source={source}: no such file or folder")
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UserError(f"source={source}: no image there; known are {sorted(IMAGE_SUFFIXES)}")
    return found


def read_boxes(
    file: Path, source: Path, paths: Sequence[Path]
) -> dict[Path, npt.NDArray[np.float64]]:
    """The person boxes (N, 4) xyxy of each photo; a photo without boxes gets none.

    A photo is the JSON's image whose file_name is its path below `source`, else the one with its
    base name. Other categories, crowds and boxes without area are left out and counted.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: not a COCO JSON with one person category, none of its images is among the
            photos, or a photo may be several of its images.
    """
    content = decode_json_file(file, _BoxFile)
    grouped = _usable_boxes(file, content)
    matched = {path: _image_of(path, source, file, content.images) for path in paths}
    if all(image is None for image in matched.values()):
        raise UserError(f"boxes={file}: none of its images is among the {len(paths)} given")
    return {
        path: xywh_to_xyxy(
            np.array(grouped[image.id] if image else [], dtype=np.float64).reshape(-1, 4)
        )
        for path, image in matched.items()
    }


def _usable_boxes(file: Path, content: _BoxFile) -> dict[int, list[Box]]:
    """Boxes xywh by image id."""
    person = _person_category(file, content)
    grouped: dict[int, list[Box]] = defaultdict(list)
    dropped: Counter[str] = Counter()
    for record in content.annotations:
        if reason := unusable_reason(record, person):
            dropped[reason] += 1
        else:
            grouped[record.image_id].append(record.bbox)
    reasons = ", ".join(f"{count} x {reason}" for reason, count in sorted(dropped.items()))
    kept = sum(map(len, grouped.values()))
    logger.info("%s: %d person boxes; dropped: %s", file, kept, reasons or "nothing")
    return grouped


def _person_category(file: Path, content: _BoxFile) -> int | None:
    """The one called person, else the only one with keypoints, else the only one at all."""
    used = sorted({record.category_id for record in content.annotations})
    known = content.categories or [_Category(category_id) for category_id in used]
    named = [category for category in known if category.name == "person"]
    with_keypoints = [category for category in known if category.keypoints]
    for candidates in (named, with_keypoints, known):
        if len(candidates) == 1:
            return candidates[0].id
    if not known:
        return None
    listed = [(category.id, category.name) for category in known]
    raise UserError(
        f"boxes={file}: which category is the person is unclear among (id, name) {listed}; "
        "call one of them 'person' in 'categories'"
    )


def _image_of(path: Path, source: Path, file: Path, images: Sequence[_Image]) -> _Image | None:
    """The JSON's image that a photo is."""
    relative = path.relative_to(source) if path != source else Path(path.name)
    exact = [image for image in images if Path(image.file_name) == relative]
    found = exact or [image for image in images if Path(image.file_name).name == path.name]
    if len(found) > 1:
        names = [image.file_name for image in found[:5]]
        raise UserError(
            f"boxes={file}: {path} may be any of its {len(found)} images {names}; set source to "
            "the folder that their file_name is relative to, or leave one of them in the JSON"
        )
    return found[0] if found else None


def to_records(path: Path, poses: Poses) -> list[dict[str, Any]]:
    """One JSON record per person.

    Raises:
        UserError: the model gave a keypoint or score that is not finite.
    """
    finite = np.isfinite(np.dstack([poses.keypoints, poses.scores])).all(axis=(1, 2))
    if not finite.all():
        raise UserError(
            f"{path}: {np.count_nonzero(~finite)} of {finite.size} poses have keypoints or "
            "scores that are not finite; the model has diverged, use another checkpoint"
        )
    return [
        {
            "file_name": path.name,
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "keypoints": np.column_stack([points, scores]).ravel().tolist(),
            "score": float(scores.mean()),
        }
        for points, scores, box in zip(
            poses.keypoints, poses.scores, poses.boxes_xyxy.tolist(), strict=True
        )
    ]


def _write_picture(path: Path, image: Image) -> None:
    ok, content = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert ok, "uint8 RGB always encodes"
    write_atomically(path, content.tobytes())
