"""A data set small enough to know by heart, photos that lie on their side, weights by rule."""

import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import settings
from torch import Tensor

from cpn.benchmark.report import usable_cores
from cpn.skeleton import COCO_17

# Test runners beside each other, and the programs they start, share the cores: two threads of each
# on two cores would wait for one another, for a quarter of the time of all tests.
RUNNERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
if RUNNERS > 1:
    torch.set_num_threads(max(1, usable_cores() // RUNNERS))
    os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))

# The same examples every time, and as many as everybody's test run can afford;
# HYPOTHESIS_PROFILE=nightly draws others.
settings.register_profile("quick", max_examples=60, derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=2000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))

WIDTH, HEIGHT = 64, 48
PARITY = Path(__file__).parent / "golden" / "parity"


@dataclass(frozen=True)
class TinyCoco:
    """Four 64 x 48 photos with six persons (annotation ids 1..6), as an ordinary COCO data set."""

    annotations: Path
    images: Path

    def read(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.annotations.read_text())
        return document

    def write(self, document: Mapping[str, Any]) -> None:
        self.annotations.write_text(json.dumps(document))


@pytest.fixture
def tiny_coco(tmp_path: Path) -> TinyCoco:
    """One person each in images 1 and 2, two each in images 3 and 4."""
    data = TinyCoco(tmp_path / "annotations" / "tiny.json", tmp_path / "images")
    for folder in (data.annotations.parent, data.images):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = []
    for image_id in range(1, 5):
        name = f"{image_id:03d}.png"
        noise = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        assert cv2.imwrite(str(data.images / name), noise)
        images.append({"id": image_id, "file_name": name, "width": WIDTH, "height": HEIGHT})
    people = [_person(i + 1, image_id, rng) for i, image_id in enumerate((1, 2, 3, 3, 4, 4))]
    data.write({"images": images, "annotations": people, "categories": [_category()]})
    return data


def _category() -> dict[str, Any]:
    limbs = [[a + 1, b + 1] for a, b in COCO_17.limbs]
    return {"id": 1, "name": "person", "keypoints": COCO_17.keypoint_names, "skeleton": limbs}


def _person(annotation_id: int, image_id: int, rng: np.random.Generator) -> dict[str, Any]:
    left, top = 4.0 + 26.0 * (annotation_id % 2), 4.0
    points = np.array([left, top]) + 1 + rng.uniform(0, 1, (17, 2)) * (22, 36)
    keypoints = np.column_stack([points.round(2), np.full(17, 2)])
    keypoints[annotation_id % 17] = 0
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [left, top, 26.0, 40.0],
        "area": 600.0,
        "iscrowd": 0,
        "num_keypoints": 16,
        "keypoints": keypoints.ravel().tolist(),
    }


def with_exif_orientation(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """Puts an APP1 segment with one tag (and a thumbnail) behind the start marker."""
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01" + bytes([0, orientation, 0, 0])
    tiff = b"MM\x00\x2a\x00\x00\x00\x08" + b"\x00\x01" + tag + b"\x00\x00\x00\x00" + thumbnail
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def rule_array(key: str, shape: Sequence[int]) -> np.ndarray[Any, np.dtype[Any]]:
    """The array that shared/parity defines for a pytorch-cpn key: each key seeds its own draw."""
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.int64)
    z = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(tuple(shape))
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "weight" and len(shape) == 4:
        z = z * math.sqrt(2.0 / math.prod(shape[1:]))
    elif leaf == "running_var":
        z = 1 + 0.1 * np.abs(z)
    elif leaf == "weight":
        z = (1 + 0.1 * z) * (0.25 if key.endswith("bn3.weight") else 1.0)
    else:
        z = 0.1 * z
    return z.astype(np.float32)


@pytest.fixture(scope="session")
def golden_folder() -> Path:
    return PARITY


@pytest.fixture(scope="session")
def published_state() -> dict[str, Tensor]:
    """A pytorch-cpn state dict of its CPN-50, with weights by rule."""
    keys = json.loads((PARITY / "cpn50_keys.json").read_text())
    return {key: torch.from_numpy(rule_array(key, shape)).reshape(shape) for key, shape in keys}


@pytest.fixture(scope="session")
def golden_input() -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.standard_normal((2, 3, 256, 192)).astype("float32"))
