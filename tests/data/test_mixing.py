from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cpn.data.annotations import PersonAnnotations
from cpn.data.epoch_batches import EpochBatchSampler, Part
from cpn.data.mixing import in_skeleton, mix
from cpn.data.persons import PersonInstances
from cpn.errors import UserError
from cpn.skeleton import Skeleton

OURS = Skeleton(("head", "hip", "tail"), (), (), (0.1, 0.1, 0.1))
THEIRS = Skeleton(("pelvis", "head"), (), (), (0.1, 0.1))


def people(folder: str, ids: list[int], num_keypoints: int = 3) -> PersonInstances:
    """Whose first keypoint is at (id, id)."""
    keypoints = np.zeros((len(ids), num_keypoints, 3))
    keypoints[:, 0] = [(number, number, 2) for number in ids]
    ones = np.ones(len(ids), np.int64)
    return PersonInstances(
        image_folder=Path(folder),
        file_names=np.array([f"{number}.jpg".encode() for number in ids]),
        image_ids=ones,
        annotation_ids=np.array(ids),
        image_sizes_hw=np.ones((len(ids), 2), np.int64),
        boxes_xywh=np.ones((len(ids), 4)),
        keypoints=keypoints,
        areas=np.ones(len(ids)),
        box_scores=np.ones(len(ids)),
    )


def theirs(instances: PersonInstances) -> PersonAnnotations:
    return PersonAnnotations(THEIRS, 1, instances, Counter(), Path("b.json"))


def drawn(parts: tuple[Part, ...], rows: PersonInstances, epoch: int) -> Counter[int]:
    """How often an epoch has which annotation."""
    sampler = EpochBatchSampler(len(rows), global_batch=1, parts=parts)
    indices = sampler.order(epoch)
    assert len(indices) == len(sampler)
    return Counter(rows.annotation_ids[indices].tolist())


def test_every_set_keeps_its_photos() -> None:
    found = mix([people("a", [1, 2]), people("/b", [30])], [1, 1])
    assert [str(person.image_path) for person in found.instances] == [
        "a/1.jpg",
        "a/2.jpg",
        "/b/30.jpg",
    ]
    assert found.parts == (Part(0, 2, 2), Part(2, 1, 1))
    assert found.instances.keypoints[:, 0, 0].tolist() == [1, 2, 30]


def test_a_weight_says_how_often_people_come() -> None:
    found = mix([people("a", [1, 2, 3]), people("b", [4, 5, 6, 7])], [1, 2.5])
    assert found.parts == (Part(0, 3, 3), Part(3, 4, 4), Part(7, 4, 4), Part(11, 4, 2))
    epochs = [drawn(found.parts, found.instances, epoch) for epoch in range(8)]
    for counts in epochs:
        assert [counts[each] for each in (1, 2, 3)] == [1, 1, 1]
        assert sorted(counts[each] for each in (4, 5, 6, 7)) == [2, 2, 3, 3]
    assert len({tuple(sorted(counts.items())) for counts in epochs}) > 1  # others every time
    assert epochs[0] == drawn(found.parts, found.instances, 0)


def test_less_than_all_of_a_set() -> None:
    found = mix([people("a", [1]), people("b", [4, 5, 6, 7])], [1, 0.5])
    assert len(found.instances) == 5
    epochs = [drawn(found.parts, found.instances, epoch) for epoch in range(20)]
    assert {sum(counts.values()) for counts in epochs} == {3}
    assert set().union(*epochs) == {1, 4, 5, 6, 7}


def test_a_batch_must_be_filled_by_what_is_drawn() -> None:
    parts = (Part(0, 10, 3),)
    with pytest.raises(UserError, match="3 training instances do not fill one global batch of 4"):
        EpochBatchSampler(10, global_batch=4, parts=parts)


def test_keypoints_go_where_their_names_are() -> None:
    instances = people("b", [8, 9], num_keypoints=2)  # the pelvis
    instances.keypoints[1, 1] = (5, 6, 1)
    same = in_skeleton(theirs(instances), OURS, None, min_keypoints=1)
    assert same.keypoints.tolist() == [[[5, 6, 1], [0, 0, 0], [0, 0, 0]]]
    assert same.annotation_ids.tolist() == [9]
    mapped = in_skeleton(theirs(instances), OURS, {"hip": "pelvis"}, min_keypoints=1)
    assert mapped.keypoints[:, 1].tolist() == [[8, 8, 2], [9, 9, 2]]
    assert not mapped.keypoints[:, [0, 2]].any()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            {"hips": "pelvis"},
            r"b.json: unknown keypoint hips \(there are \['head', 'hip', 'tail'\]\)",
        ),
        ({"hip": "hips"}, r"unknown keypoint hips \(there are \['pelvis', 'head'\]\) in data\.mix"),
        ({"hip": "head"}, r"nobody has 1 of the keypoints \['hip'\] labelled"),
    ],
)
def test_names_that_are_not_there_are_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        in_skeleton(theirs(people("b", [8], 2)), OURS, names, min_keypoints=1)


def test_sets_without_a_common_name_are_refused() -> None:
    tails = Skeleton(("tail",), (), (), (0.1,))
    with pytest.raises(UserError, match=r"no name of \['pelvis', 'head'\] is one of data\.train's"):
        in_skeleton(theirs(people("b", [8], 2)), tails, None, min_keypoints=1)
