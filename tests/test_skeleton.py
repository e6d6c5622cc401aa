import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.cocoeval import Params

from cpn.errors import UserError
from cpn.skeleton import COCO_17, Skeleton, skeleton_from_category

DOG = {"keypoints": ["nose", "left_paw", "right_paw"], "skeleton": [[1, 2], [1, 3]]}


def test_coco_17_is_the_official_category() -> None:
    assert COCO_17.num_keypoints == 17
    assert COCO_17.flip_permutation == (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)
    assert len(COCO_17.limbs) == 19
    official = Params(iouType="keypoints").kpt_oks_sigmas
    assert COCO_17.sigmas == pytest.approx(official.tolist(), abs=1e-12)
    assert COCO_17.lower_body == (11, 12, 13, 14, 15, 16)
    assert COCO_17.upper_body == tuple(range(11))


def test_flip_permutation_twice_is_the_identity() -> None:
    permutation = COCO_17.flip_permutation
    assert [permutation[k] for k in permutation] == list(range(17))


def test_dict_round_trip_through_json() -> None:
    assert Skeleton.from_dict(json.loads(json.dumps(COCO_17.to_dict()))) == COCO_17


def test_from_dict_refuses_missing_and_unknown_keys() -> None:
    values = COCO_17.to_dict()
    values["sigma"] = values.pop("sigmas")
    with pytest.raises(ValueError, match=r"skeleton needs the keys .*'sigmas'.* got .*'sigma'"):
        Skeleton.from_dict(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoint_names": ("a", "a")}, "non-empty and different"),
        ({"keypoint_names": ()}, "non-empty and different"),
        ({"flip_pairs": ((0, 2),)}, r"flip pair \(0, 2\) needs two different indices in 0..1"),
        ({"flip_pairs": ((1, 1),)}, r"flip pair \(1, 1\)"),
        ({"flip_pairs": ((0, 1), (1, 0))}, "in two flip pairs"),
        ({"limbs": ((-1, 0),)}, r"limb \(-1, 0\)"),
        ({"sigmas": (0.1,)}, "2 keypoints need 2 sigmas"),
        ({"sigmas": (0.1, 0.0)}, "positive and finite"),
        ({"sigmas": (0.1, float("nan"))}, "positive and finite"),
    ],
)
def test_impossible_skeletons_are_refused(change: dict[str, Any], message: str) -> None:
    values: dict[str, Any] = {
        "keypoint_names": ("left_a", "right_a"),
        "flip_pairs": (),
        "limbs": (),
        "sigmas": (0.1, 0.1),
    }
    with pytest.raises(ValueError, match=message):
        Skeleton(**(values | change))


def test_coco_category_needs_no_sigmas() -> None:
    category = {"keypoints": list(COCO_17.keypoint_names)}
    assert skeleton_from_category(category, source="a.json") == COCO_17


def test_coco_category_takes_other_sigmas() -> None:
    category = {"keypoints": list(COCO_17.keypoint_names)}
    assert skeleton_from_category(category, source="", sigmas=[0.1] * 17).sigmas == (0.1,) * 17


def test_other_category_gets_sigmas_and_pairs_by_name() -> None:
    skeleton = skeleton_from_category(DOG, source="dog.json", sigmas=[0.1, 0.2, 0.3])
    assert skeleton == Skeleton(
        ("nose", "left_paw", "right_paw"), ((1, 2),), ((0, 1), (0, 2)), (0.1, 0.2, 0.3)
    )
    assert skeleton.unpaired_sided_names == ()


def test_given_flip_pairs_win() -> None:
    skeleton = skeleton_from_category(DOG, source="", sigmas=[1, 1, 1], flip_pairs=[])
    assert skeleton.flip_pairs == ()
    assert skeleton.unpaired_sided_names == ("left_paw", "right_paw")


def test_a_name_that_only_looks_sided_may_stay_unpaired() -> None:
    category = {"keypoints": ["bright_spot", "tip"]}
    skeleton = skeleton_from_category(category, source="", sigmas=[1, 1], flip_pairs=[])
    assert skeleton.unpaired_sided_names == ()


def test_unknown_sigmas_name_the_config_key() -> None:
    with pytest.raises(
        UserError, match=r"dog.json: .*set sigmas=\[…\] \(data.sigmas in train.py\) to 3"
    ):
        skeleton_from_category(DOG, source="dog.json")


def test_default_sigmas_are_cocos_by_name() -> None:
    skeleton = skeleton_from_category(DOG, source="", sigmas="default")
    assert skeleton.sigmas == (0.026, 0.079, 0.079)
    category = {"keypoints": list(COCO_17.keypoint_names)}
    assert skeleton_from_category(category, source="", sigmas="default") == COCO_17


def test_wrong_number_of_sigmas_names_the_config_key() -> None:
    with pytest.raises(
        UserError, match=r"dog.json: 3 keypoints need 3 sigmas.* sigmas=\[…\] \(data.sigmas in"
    ):
        skeleton_from_category(DOG, source="dog.json", sigmas=[0.1])


def test_a_side_without_counterpart_is_refused() -> None:
    category = {"keypoints": ["nose", "left_paw"]}
    message = "'left_paw' has no counterpart 'right_paw'.*data.flip_pairs"
    with pytest.raises(UserError, match=message):
        skeleton_from_category(category, source="dog.json", sigmas=[1, 1])


def test_flip_pairs_of_unknown_names_are_refused() -> None:
    message = re.escape("data.flip_pairs names unknown keypoints ['left_ear']")
    with pytest.raises(UserError, match=message):
        skeleton_from_category(
            DOG, source="dog.json", sigmas=[1, 1, 1], flip_pairs=[("left_ear", "nose")]
        )


def test_category_without_keypoints_is_refused() -> None:
    with pytest.raises(UserError, match=r"cars.json: the person category has no 'keypoints'"):
        skeleton_from_category({"name": "car"}, source="cars.json")


@given(st.permutations(range(12)), st.integers(0, 6))
def test_any_flip_permutation_is_an_involution(order: list[int], num_pairs: int) -> None:
    pairs = tuple(zip(order[0 : 2 * num_pairs : 2], order[1 : 2 * num_pairs : 2], strict=True))
    names = tuple(f"k{index}" for index in range(12))
    permutation = Skeleton(names, pairs, (), (0.1,) * 12).flip_permutation
    assert [permutation[index] for index in permutation] == list(range(12))
    assert sum(index != place for place, index in enumerate(permutation)) == 2 * num_pairs
