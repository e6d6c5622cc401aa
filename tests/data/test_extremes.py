"""People and photos at the edge of what there can be: finite crops of the asked size."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cpn.coco.records import MIN_BOX_SIDE
from cpn.data.annotations import read_person_annotations
from cpn.data.augmentation import Augmentation
from cpn.data.image_files import read_annotated_image
from cpn.data.loaders import train_loader
from cpn.data.persons import PersonInstance
from cpn.data.pose_dataset import PoseDataset, sample_generator
from cpn.data.transforms import PersonTransform
from cpn.errors import UserError
from cpn.skeleton import COCO_17
from tests.conftest import TinyCoco

SIDES = st.sampled_from([1, 2, 3, 7, 64])
PLACES = st.sampled_from([0.0, -1.0, 0.5, 63.0, 1e4, -1e7, 1e7]) | st.floats(-1e7, 1e7)
LENGTHS = st.sampled_from([MIN_BOX_SIDE, 1.0, 64.0, 1e7]) | st.floats(MIN_BOX_SIDE, 1e7)
TRANSFORM = PersonTransform(
    COCO_17, (32, 24), augmentation=Augmentation(blur_probability=0.5, dropout_probability=0.5)
)


@given(SIDES, SIDES, PLACES, PLACES, LENGTHS, LENGTHS, PLACES)
@example(1, 1, 0.0, 0.0, 1.0, 1.0, 0.0)
@example(1, 64, -1e7, 1e7, 1e7, MIN_BOX_SIDE, 1e7)
@example(64, 64, 0.0, 0.0, 1e7, 1e7, 5.0)
@example(64, 64, 32.0, 32.0, MIN_BOX_SIDE, MIN_BOX_SIDE, 32.0)
@settings(max_examples=150, derandomize=True, deadline=None)
def test_any_person_has_a_finite_crop(
    height: int, width: int, x: float, y: float, box_w: float, box_h: float, point: float
) -> None:
    keypoints = np.tile([point, -point, 2.0], (17, 1))
    keypoints[::2, :2] += 3.0
    box = np.array([x, y, box_w, box_h])
    person = PersonInstance(1, 1, Path(), (height, width), box, keypoints, 9.0)
    photo = np.full((height, width, 4), 200, np.uint8)
    for seed in range(3):
        found = TRANSFORM(photo, person, sample_generator(seed, 0, 0))
        assert found.crop.shape == (32, 24, 3)
        assert found.crop.dtype == np.uint8
        for values in (found.points, found.matrix, found.colour):
            assert np.isfinite(values).all()
        assert found.points.shape == (17, 2)


@pytest.mark.parametrize("side", [0.0, -3.0, 1e-4, 5e-324])
@pytest.mark.parametrize("place", [2, 3])
def test_boxes_without_area_are_dropped(tiny_coco: TinyCoco, side: float, place: int) -> None:
    """Ids 918 and 2206849 of COCO's train2017 have a height of 0."""
    document = tiny_coco.read()
    document["annotations"][0]["bbox"][place] = side
    tiny_coco.write(document)
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert people.dropped == {"box without area": 1}
    assert people.instances.annotation_ids.tolist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1)])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_photos_of_a_pixel_or_a_row(tmp_path: Path, height: int, width: int, suffix: str) -> None:
    path = tmp_path / f"line{suffix}"
    assert cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))
    box, keypoints = np.array([0.0, 0, width, height]), np.zeros((17, 3))
    person = PersonInstance(1, 1, path, (height, width), box, keypoints, 1.0)
    photo = read_annotated_image(person)
    assert photo.shape[:2] == (height, width)
    assert TRANSFORM(photo, person, sample_generator(0, 0, 0)).crop.shape == (32, 24, 3)


def crowded(data: TinyCoco, number: int) -> dict[str, Any]:
    """So many people in the first photo."""
    document = data.read()
    template = document["annotations"][0]
    document["annotations"] = [template | {"id": 10 + i} for i in range(number)]
    data.write(document)
    return document


def test_nobody_is_an_error(tiny_coco: TinyCoco) -> None:
    crowded(tiny_coco, 0)
    with pytest.raises(UserError, match=r"tiny\.json: no person is left to use; .*; give a file"):
        read_person_annotations(tiny_coco.annotations, tiny_coco.images)


def test_30_000_people_in_one_photo(tiny_coco: TinyCoco) -> None:
    crowded(tiny_coco, 30_000)
    before = psutil.Process().memory_info().rss
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert len(people.instances) == 30_000
    transform = PersonTransform(people.skeleton, (32, 24), augmentation=Augmentation())
    batches = iter(train_loader(PoseDataset(people.instances, transform), global_batch=64))
    for _ in range(20):
        batch = next(batches)
        assert batch.crops.shape == (64, 3, 32, 24)
        assert torch.isfinite(batch.points).all()
    assert psutil.Process().memory_info().rss - before < 1 << 30
    assert math.isclose(people.instances.keypoints.nbytes, 30_000 * 17 * 3 * 8)
