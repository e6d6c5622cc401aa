"""People, crop rules and caches for the tests beside this file."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from cpn.data.annotations import PersonAnnotations, read_person_annotations
from cpn.data.augmentation import Augmentation
from cpn.data.crop_cache import CacheIndex, CacheSettings
from cpn.data.crop_cache.index import INDEX_NAME
from cpn.data.persons import FloatArray, PersonInstances
from cpn.data.transforms import PersonTransform
from cpn.skeleton import COCO_17, Skeleton
from tests.conftest import TinyCoco

INPUT_HW = (64, 48)
LARGE_WIDTH, LARGE_HEIGHT = 1203, 901  # odd: halving leaves out the last column and row
NUM_KEYPOINTS = COCO_17.num_keypoints


def settings(**changes: Any) -> CacheSettings:
    """Raw pieces of two people a shard, for the default augmentation."""
    default: dict[str, Any] = {
        "encoding": "raw",
        "jpeg_quality": 95,
        "people_per_shard": 2,
        "rule": rule(),
    }
    return CacheSettings(**(default | changes))


def rule(**changes: Any) -> dict[str, Any]:
    """What an index says about `transform_of` with the same changes."""
    return {"input.height": 64, "augment.scale_range": [0.7, 1.35]} | changes


def read_people(coco: TinyCoco) -> PersonAnnotations:
    return read_person_annotations(coco.annotations, coco.images)


def transform_of(
    skeleton: Skeleton = COCO_17, input_hw: tuple[int, int] = INPUT_HW, **changes: Any
) -> PersonTransform:
    """The default augmentation with changes, of small crops."""
    return PersonTransform(skeleton, input_hw, augmentation=Augmentation(**changes))


def persons_at(
    boxes_xywh: npt.ArrayLike,
    size_wh: tuple[int, int],
    *,
    keypoints: FloatArray | None = None,
    folder: Path = Path("nowhere"),
) -> PersonInstances:
    """People of `photo.png`; without keypoints unless given."""
    boxes = np.array(boxes_xywh, dtype=np.float64).reshape(-1, 4)
    count = len(boxes)
    if keypoints is None:
        keypoints = np.zeros((count, NUM_KEYPOINTS, 3))
    return PersonInstances(
        image_folder=folder,
        file_names=np.array([b"photo.png"] * count),
        image_ids=np.ones(count, dtype=np.int64),
        annotation_ids=np.arange(count) + 1,
        image_sizes_hw=np.tile(size_wh[::-1], (count, 1)),
        boxes_xywh=boxes,
        keypoints=keypoints,
        areas=boxes[:, 2] * boxes[:, 3],
        box_scores=np.ones(count),
    )


def write_large_coco(folder: Path, category: dict[str, Any], suffix: str) -> TinyCoco:
    """A large smooth photo of three people: one to be halved, one in a corner, one at an edge."""
    data = TinyCoco(folder / "large.json", folder / "large")
    data.images.mkdir(parents=True)
    y, x = np.mgrid[:LARGE_HEIGHT, :LARGE_WIDTH]
    waves = (np.sin(x / 60), np.cos(y / 50), np.sin((x + y) / 80))
    photo = np.stack([(127.5 + 120 * wave).round() for wave in waves], axis=-1).astype(np.uint8)
    name = f"photo{suffix}"
    assert cv2.imwrite(str(data.images / name), photo)
    boxes = [(300, 40, 500, 820), (0, 0, 120, 160), (1100, 740, 100, 161)]
    image = {"id": 1, "file_name": name, "width": LARGE_WIDTH, "height": LARGE_HEIGHT}
    people = [_person(number, box) for number, box in enumerate(boxes, start=1)]
    data.write({"images": [image], "annotations": people, "categories": [category]})
    return data


def _person(number: int, box_xywh: tuple[int, int, int, int]) -> dict[str, Any]:
    """All keypoints inside the box, the upper body above the middle."""
    x, y, width, height = box_xywh
    across = np.random.default_rng(number).uniform(0.1, 0.9, NUM_KEYPOINTS)
    down = np.linspace(0.05, 0.95, NUM_KEYPOINTS)
    points = [x + across * width, y + down * height, np.full(NUM_KEYPOINTS, 2)]
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "bbox": list(box_xywh),
        "area": width * height / 2,
        "iscrowd": 0,
        "num_keypoints": NUM_KEYPOINTS,
        "keypoints": np.column_stack(points).round(2).ravel().tolist(),
    }


def files_of(folder: Path) -> dict[str, bytes]:
    """A cache's files without its lock."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def index_of(folder: Path) -> CacheIndex:
    path = folder / INDEX_NAME
    return CacheIndex.from_bytes(path.read_bytes(), source=str(path))
