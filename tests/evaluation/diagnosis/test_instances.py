import numpy as np
import pytest

from cpn.errors import UserError
from cpn.evaluation.diagnosis.instances import detection_arrays, find_scenes, people_arrays
from cpn.evaluation.ground_truth import Person
from tests.evaluation.diagnosis.scenes import BODY, SKELETON, moved, person, result, truth


def test_who_counts() -> None:
    blank = Person(4, 1, [], [0.0, 0.0, 10.0, 10.0], 60.0, 0)
    persons = (
        person(1),
        person(2, crowd=True),
        person(3, v=(0, 0, 0)),
        blank,
        person(5, v=(1, 0, 0)),
    )
    people = people_arrays(truth(*persons), 3)
    assert people.counted.tolist() == [True, False, False, False, True]
    assert people.keypoints.shape == (5, 3, 3)
    assert people.labelled[4].tolist() == [True, False, False]


def test_another_number_of_keypoints_than_the_skeleton_s_is_refused() -> None:
    with pytest.raises(UserError, match=r"truth\.json: annotation 7 has 3 keypoints but the skel"):
        people_arrays(truth(person(7)), 17)


def test_the_best_20_of_each_image_count_the_first_of_equal_scores() -> None:
    results = [result(score=0.5, image_id=1 + index % 2) for index in range(50)]
    results[48] = result(score=0.9)
    people = people_arrays(truth(person(1), images=(1, 2)), 3)
    first, second = find_scenes(people, detection_arrays(results, 3), sigmas=SKELETON.sigmas)
    assert first.detections.tolist() == [48, *range(0, 38, 2)]
    assert second.detections.tolist() == list(range(1, 40, 2))
    assert (first.similarities.shape, second.similarities.shape) == ((20, 1), (20, 0))


def test_similarities_are_of_those_in_the_same_image() -> None:
    people = people_arrays(truth(person(1, image_id=2), person(2), images=(1, 2)), 3)
    results = [result(image_id=2), result(moved(BODY, x=10.0))]
    scenes = find_scenes(people, detection_arrays(results, 3), sigmas=SKELETON.sigmas)
    assert [scene.people.tolist() for scene in scenes] == [[1], [0]]
    np.testing.assert_allclose(scenes[0].similarities, [[np.exp(-1)]])
    np.testing.assert_allclose(scenes[1].similarities, [[1]])


def test_what_is_not_kept_is_in_no_scene() -> None:
    people = people_arrays(truth(person(1)), 3)
    found = detection_arrays([result(), result(), result()], 3)
    kept = np.array([False, True, False])
    (scene,) = find_scenes(people, found, sigmas=SKELETON.sigmas, kept=kept)
    assert scene.detections.tolist() == [1]


def test_empty() -> None:
    people, nothing = people_arrays(truth(), 3), detection_arrays([], 3)
    assert people.keypoints.shape == (0, 3, 3)
    assert nothing.points.shape == (0, 3, 2)
    assert find_scenes(people, nothing, sigmas=SKELETON.sigmas) == []
