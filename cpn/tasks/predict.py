"""Photos in, keypoints and pictures out."""

import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from cpn.config.schema import PredictConfig
from cpn.data.image_files import read_image
from cpn.engine.atomic import write_atomically
from cpn.errors import UserError
from cpn.geometry.boxes import xywh_to_xyxy
from cpn.predictor import Poses, Predictor
from cpn.visualization import draw_skeletons

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
Image = npt.NDArray[np.uint8]


class _BoxImage(msgspec.Struct):
    id: int
    file_name: str


class _Box(msgspec.Struct):
    image_id: int
    bbox: tuple[float, float, float, float]


class _BoxFile(msgspec.Struct):
    images: list[_BoxImage]
    annotations: list[_Box]


def predict(config: PredictConfig) -> Path:
    """Writes `predictions.json` and a picture with skeletons per photo.

    Returns:
        The path of `predictions.json`: one record per person with file_name, bbox (xywh),
        keypoints ([x, y, score] * K, pixel-index frame) and score.

    Raises:
        UserError: no image at the source, an unreadable image, or boxes that fit no image.
    """
    predictor = Predictor.from_checkpoint(
        config.checkpoint, device=config.device, batch_size=config.batch_size
    )
    paths = find_images(Path(config.source))
    boxes = read_boxes(Path(config.boxes), paths) if config.boxes else None
    out = Path(config.out)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    records: list[dict[str, Any]] = []
    for path in paths:
        image = read_image(path)
        poses = predictor(image, None if boxes is None else boxes[path])
        records += to_records(path, poses)
        shown = np.where(poses.scores >= config.keypoint_threshold, poses.scores, 0.0)
        picture = draw_skeletons(image, poses.keypoints, shown, predictor.skeleton)
        _write_picture(out / "pictures" / f"{path.stem}.png", picture)
    written = out / "predictions.json"
    write_atomically(written, json.dumps(records).encode())
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


def read_boxes(file: Path, paths: list[Path]) -> dict[Path, npt.NDArray[np.float64]]:
    """Person boxes (N, 4) xyxy per photo, matched by file name; photos without boxes get none.

    Raises:
        UserError: not a COCO JSON, or none of its images is among the photos.
    """
    try:
        content = msgspec.json.decode(file.read_bytes(), type=_BoxFile)
    except msgspec.DecodeError as error:
        raise UserError(f"boxes={file}: not a COCO JSON with boxes: {error}") from error
    names = {image.id: Path(image.file_name).name for image in content.images}
    grouped: dict[str, list[list[float]]] = defaultdict(list)
    for box in content.annotations:
        grouped[names.get(box.image_id, "")].append(list(box.bbox))
    if not any(path.name in grouped for path in paths):
        raise UserError(f"boxes={file}: none of its images is among the {len(paths)} given")
    return {
        path: xywh_to_xyxy(np.array(grouped.get(path.name, []), dtype=np.float64).reshape(-1, 4))
        for path in paths
    }


def to_records(path: Path, poses: Poses) -> list[dict[str, Any]]:
    """One JSON record per person."""
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
