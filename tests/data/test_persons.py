import pickle

import numpy as np
import pytest

from cpn.data.annotations import read_person_annotations
from cpn.data.persons import PersonInstances
from tests.conftest import TinyCoco


@pytest.fixture
def persons(tiny_coco: TinyCoco) -> PersonInstances:
    return read_person_annotations(tiny_coco.annotations, tiny_coco.images).instances


def test_is_a_sequence(persons: PersonInstances) -> None:
    assert len(persons) == 6
    assert [person.annotation_id for person in persons] == [1, 2, 3, 4, 5, 6]
    assert [person.index for person in persons] == [0, 1, 2, 3, 4, 5]
    assert persons[-1].annotation_id == 6
    with pytest.raises(IndexError):
        persons[6]


def test_slices_and_selections_keep_every_column(persons: PersonInstances) -> None:
    assert persons[1:3].annotation_ids.tolist() == [2, 3]
    chosen = persons.take([4, 0])
    assert [person.image_path.name for person in chosen] == ["004.png", "001.png"]
    assert [person.index for person in chosen] == [0, 1]
    np.testing.assert_array_equal(chosen[0].keypoints, persons[4].keypoints)
    assert len(persons.take([])) == 0


def test_pickles_as_a_few_arrays(persons: PersonInstances) -> None:
    copy = pickle.loads(pickle.dumps(persons))
    assert copy[2].image_path == persons[2].image_path


def test_names_beyond_ascii_survive(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    (tiny_coco.images / "001.png").rename(tiny_coco.images / "été 1.png")
    document["images"][0]["file_name"] = "été 1.png"
    tiny_coco.write(document)
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert people.instances[0].image_path.is_file()
