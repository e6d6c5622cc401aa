from itertools import groupby

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cpn.data.annotations import PersonAnnotations, read_person_annotations
from cpn.data.augmentation import Augmentation
from cpn.data.image_files import read_annotated_image, read_image
from cpn.data.persons import PersonInstance
from cpn.data.pose_dataset import PoseDataset, sample_generator
from cpn.data.transforms import PersonTransform
from cpn.errors import UserError
from tests.conftest import TinyCoco


@pytest.fixture
def people(tiny_coco: TinyCoco) -> PersonAnnotations:
    return read_person_annotations(tiny_coco.annotations, tiny_coco.images)


def _dataset(people: PersonAnnotations, *, seed: int = 0) -> PoseDataset:
    transform = PersonTransform(people.skeleton, (32, 24), augmentation=Augmentation())
    return PoseDataset(people.instances, transform, seed=seed)


def test_a_sample_names_its_person(people: PersonAnnotations) -> None:
    dataset = _dataset(people)
    assert len(dataset) == 6
    sample = dataset[0, 3]
    assert (sample.instance_id, sample.image_id) == (4, 3)
    assert (sample.box_score, sample.box_area) == (1.0, 26.0 * 40.0)
    assert sample.crop.shape == (32, 24, 3)
    assert sample.crop.any()


def test_a_sample_depends_on_seed_epoch_and_index_alone(people: PersonAnnotations) -> None:
    dataset = _dataset(people)
    wanted = dataset[5, 2]
    for other in range(4):
        dataset[0, other]
    np.testing.assert_array_equal(dataset[5, 2].crop, wanted.crop)
    np.testing.assert_array_equal(_dataset(people)[5, 2].points, wanted.points)


def test_the_people_of_a_photo_share_its_decoding(
    people: PersonAnnotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []

    def read(instance: PersonInstance) -> npt.NDArray[np.uint8]:
        decoded.append(instance.image_id)
        return read_annotated_image(instance)

    monkeypatch.setattr("cpn.data.pose_dataset.read_annotated_image", read)
    dataset = _dataset(people)
    ids = [dataset[0, index].image_id for index in (0, 0, 1, 2, 3, 0)]
    assert decoded == [image_id for image_id, _ in groupby(ids)]
    assert len(decoded) < len(ids)


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_crop_can_be_made_in_its_place(tiny_coco: TinyCoco, blur: float, suffix: str) -> None:
    """From three channels and from four, with a step behind the warp and without."""
    document = tiny_coco.read()
    for image in document["images"]:
        name = image["file_name"]
        image["file_name"] = name.replace(".png", suffix)
        photo = read_image(tiny_coco.images / name)
        cv2.imwrite(str(tiny_coco.images / image["file_name"]), photo)
    tiny_coco.write(document)
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    augmentation = Augmentation(blur_probability=blur)
    transform = PersonTransform(people.skeleton, (32, 24), augmentation=augmentation)
    dataset = PoseDataset(people.instances, transform)
    batch = np.full((2, 32, 24, 3), 77, np.uint8)
    sample = dataset.sample(4, 1, out=batch[1])
    wanted = dataset[4, 1]
    np.testing.assert_array_equal(batch[1], wanted.crop)
    np.testing.assert_array_equal(sample.points, wanted.points)
    assert np.shares_memory(sample.crop, batch[1])
    assert not np.shares_memory(wanted.crop, batch)
    assert (batch[0] == 77).all()


def test_epochs_and_seeds_differ(people: PersonAnnotations) -> None:
    matrices = [
        _dataset(people, seed=seed)[epoch, 2].image_to_crop
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))
    ]
    assert len({matrix.tobytes() for matrix in matrices}) == 4


def test_no_two_streams_are_the_same() -> None:
    keys = [(seed, epoch, index) for seed in range(3) for epoch in range(5) for index in range(20)]
    assert len({sample_generator(*key).integers(2**63) for key in keys}) == len(keys)


def test_an_unreadable_photo_is_named(people: PersonAnnotations, tiny_coco: TinyCoco) -> None:
    (tiny_coco.images / "003.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"003\.png: not a readable image"):
        _dataset(people)[0, 2]
