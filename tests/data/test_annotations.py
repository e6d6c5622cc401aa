import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.data.annotations import read_detections, read_person_annotations
from cpn.errors import UserError
from cpn.skeleton import COCO_17
from tests.conftest import TinyCoco

Change = Callable[[dict[str, Any]], object]


def test_reads_every_person(tiny_coco: TinyCoco) -> None:
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert people.skeleton == COCO_17
    assert people.category_id == 1
    assert people.path == tiny_coco.annotations
    assert people.dropped == Counter()
    assert people.instances.annotation_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert people.instances.image_ids.tolist() == [1, 2, 3, 3, 4, 4]


def test_an_instance_holds_its_record(tiny_coco: TinyCoco) -> None:
    record = tiny_coco.read()["annotations"][2]
    person = read_person_annotations(tiny_coco.annotations, tiny_coco.images).instances[2]
    assert person.image_path == tiny_coco.images / "003.png"
    assert person.image_size_hw == (48, 64)
    assert person.box_xywh.tolist() == record["bbox"]
    assert person.keypoints.ravel().tolist() == record["keypoints"]
    assert (person.area, person.box_score) == (600.0, 1.0)


def test_useless_records_are_dropped_and_counted(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    people = document["annotations"]
    people[0]["iscrowd"] = 1
    people[1]["bbox"][3] = 0.0
    people[2]["keypoints"] = [0] * 51
    del people[3]["keypoints"]
    people[4]["category_id"] = 2
    document["categories"].append({"id": 2, "name": "car"})
    tiny_coco.write(document)
    found = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert found.instances.annotation_ids.tolist() == [6]
    expected = {"crowd": 1, "box without area": 1, "too few labelled keypoints": 2}
    assert found.dropped == expected | {"other category": 1}


def test_min_keypoints_counts_labelled_ones_not_num_keypoints(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["annotations"][0]["keypoints"][3:] = [0] * 48
    document["annotations"][0]["num_keypoints"] = 17
    tiny_coco.write(document)
    paths = (tiny_coco.annotations, tiny_coco.images)
    assert len(read_person_annotations(*paths, min_keypoints=2).instances) == 5
    assert len(read_person_annotations(*paths, min_keypoints=1).instances) == 6
    for_evaluation = read_person_annotations(*paths, min_keypoints=2, for_training=False)
    assert len(for_evaluation.instances) == 6


def test_coordinates_of_unlabelled_keypoints_do_not_matter(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["annotations"][0]["keypoints"][:3] = [-999, 12345, 0]
    tiny_coco.write(document)
    found = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert found.instances[0].keypoints[0].tolist() == [0, 0, 0]
    assert found.dropped == Counter()


def test_keypoints_outside_the_image_are_ignored_in_training_only(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["annotations"][0]["keypoints"][:6] = [-3, 5, 2, 66, 5, 1]
    tiny_coco.write(document)
    paths = (tiny_coco.annotations, tiny_coco.images)
    training = read_person_annotations(*paths)
    assert training.instances[0].keypoints[:2, 2].tolist() == [0, 0]
    assert training.dropped == {"keypoint outside its image, ignored": 2}
    evaluation = read_person_annotations(*paths, for_training=False)
    assert evaluation.instances[0].keypoints[:2, 2].tolist() == [2, 1]


def test_limit_takes_the_first_usable_ones(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["annotations"][0]["iscrowd"] = 1
    tiny_coco.write(document)
    (tiny_coco.images / "004.png").unlink()  # not needed for the first three
    found = read_person_annotations(tiny_coco.annotations, tiny_coco.images, limit=3)
    assert found.instances.annotation_ids.tolist() == [2, 3, 4]


def test_a_limit_below_one_is_refused(tiny_coco: TinyCoco) -> None:
    with pytest.raises(UserError, match="limit on instances must be at least 1, got 0"):
        read_person_annotations(tiny_coco.annotations, tiny_coco.images, limit=0)


def test_nothing_left_is_an_error_with_the_counts(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    for person in document["annotations"]:
        person["iscrowd"] = 1
    document["annotations"][0] |= {"iscrowd": 0, "bbox": [0, 0, -1, 5]}
    tiny_coco.write(document)
    message = r"tiny.json: no person is left to use; dropped: 1 x box without area, 5 x crowd"
    with pytest.raises(UserError, match=message):
        read_person_annotations(tiny_coco.annotations, tiny_coco.images)


def test_no_annotations_at_all(tiny_coco: TinyCoco) -> None:
    tiny_coco.write(tiny_coco.read() | {"annotations": []})
    with pytest.raises(UserError, match="no person is left to use; dropped: nothing"):
        read_person_annotations(tiny_coco.annotations, tiny_coco.images)


def test_area_is_needed_for_evaluation_only(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    del document["annotations"][3]["area"]
    tiny_coco.write(document)
    paths = (tiny_coco.annotations, tiny_coco.images)
    assert read_person_annotations(*paths).instances[3].area == 26 * 40
    with pytest.raises(UserError, match=r"tiny.json: annotation 4 has no 'area'"):
        read_person_annotations(*paths, for_training=False)


def _person(index: int, **values: object) -> Change:
    return lambda document: document["annotations"][index].update(values)


def _keypoint(index: int, position: int, value: object) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["annotations"][index]["keypoints"][position] = value

    return change


def _image(index: int, **values: object) -> Change:
    return lambda document: document["images"][index].update(values)


BROKEN: dict[str, tuple[Change, str]] = {
    "NaN keypoint": (
        _keypoint(1, 4, float("nan")),
        r"at annotations\[1\]\.keypoints\[4\] \(id 2\): not a finite number; NaN",
    ),
    "infinite box": (_person(2, bbox=[0, 0, float("inf"), 1]), r"bbox\[2\] \(id 3\)"),
    "short keypoints": (
        _person(1, keypoints=[1, 2, 2]),
        "annotation 2: 'keypoints' has 3 numbers, 17 keypoints need 51",
    ),
    "v of 3": (_keypoint(3, 5, 3), "annotation 4: keypoint 'left_eye' has v = 3; allowed are 0, 1"),
    "v of 1.5": (_keypoint(3, 5, 1.5), "annotation 4: keypoint 'left_eye' has v = 1.5"),
    "short box": (_person(1, bbox=[1, 2, 3]), r"bbox \(id 2\): .*length 4"),
    "text in box": (
        _person(1, bbox=["1", 2, 3, 4]),
        r"bbox\[0\] \(id 2\): Expected `float`, got `str`",
    ),
    "huge coordinate": (_keypoint(1, 0, 1e300), r"keypoints\[0\] \(id 2\): .* <= 10000000\.0"),
    "negative area": (_person(1, area=-1), r"area \(id 2\): Expected `float` >= 0\.0"),
    "boolean id": (_person(1, id=True), r"annotations\[1\]\.id .*Expected `int`, got `bool`"),
    "huge id": (_person(1, id=2**63), r"annotations\[1\]\.id .*Expected `int` <= "),
    "crowd of 2": (_person(1, iscrowd=2), r"iscrowd \(id 2\): Expected `int` <= 1"),
    "unknown image": (_person(1, image_id=99), r"1 annotation \(id 2\) with an image_id .* 99;"),
    "repeated annotation": (_person(1, id=1), r"annotation id used more than once: 1 \(1\)"),
    "repeated image": (_image(1, id=1), r"image id used more than once: 1 \(1\)"),
    "repeated file": (_image(1, file_name="001.png"), r"file_name used more than once: 1 \(001"),
    "missing file": (
        _image(1, file_name="no.png"),
        r"image files missing in .*: 1 \(no\.png\), the first one of annotation 2; add them or",
    ),
    "missing folder": (_image(1, file_name="a/002.png"), r"missing in .*: 1 \(a/002\.png\)"),
    "file outside": (
        _image(1, file_name="../002.png"),
        r"outside .*: 1 \(\.\./002\.png\), .* of annotation 2; copy",
    ),
    "absolute file": (
        _image(1, file_name="/etc/passwd"),
        r"files outside .*/images, .*: 1 \(/etc/passwd\)",
    ),
    "empty file name": (_image(1, file_name=""), r"images\[1\].file_name \(id 2\): .* length >= 1"),
    "zero width": (_image(1, width=0), r"images\[1\].width \(id 2\): Expected `int` >= 1"),
    "no categories": (lambda d: d.update(categories=[]), "which category is the person is unclear"),
    "no keypoint names": (
        lambda d: d["categories"][0].pop("keypoints"),
        "needs a category with 'keypoints', .* the person is category 1 'person', which has none",
    ),
    "unknown skeleton": (
        lambda d: d["categories"][0]["keypoints"].__setitem__(0, "tip"),
        r"set sigmas=.* \(data.sigmas in train.py\) to 17 numbers",
    ),
    "limbs by name": (
        lambda d: d["categories"][0].update(skeleton=[["nose", "left_eye"]]),
        r"'skeleton' of category 1: at \[0\]\[0\]: Expected `int`, got `str` \(value: 'nose'\)",
    ),
    "no images list": (lambda d: d.pop("images"), "missing required field `images`"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_records_are_refused_with_file_and_id(tiny_coco: TinyCoco, name: str) -> None:
    change, message = BROKEN[name]
    document = tiny_coco.read()
    change(document)
    tiny_coco.write(document)
    with pytest.raises(UserError, match=rf"tiny\.json: .*{message}") as caught:
        read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert "\n" not in str(caught.value)


def test_missing_annotation_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.json"):
        read_person_annotations(tmp_path / "none.json", tmp_path)


def test_missing_image_folder(tiny_coco: TinyCoco) -> None:
    with pytest.raises(FileNotFoundError, match=r"image folder not found: .*nowhere"):
        read_person_annotations(tiny_coco.annotations, tiny_coco.images / "nowhere")


def test_person_category_is_found_among_several(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["categories"].insert(0, {"id": 7, "name": "dog", "keypoints": ["nose"]})
    tiny_coco.write(document)
    assert read_person_annotations(tiny_coco.annotations, tiny_coco.images).category_id == 1


def test_sigmas_and_flip_pairs_reach_the_skeleton(tiny_coco: TinyCoco) -> None:
    paths = (tiny_coco.annotations, tiny_coco.images)
    found = read_person_annotations(*paths, sigmas=[0.5] * 17, flip_pairs=[("nose", "left_eye")])
    assert found.skeleton.sigmas == (0.5,) * 17
    assert found.skeleton.flip_pairs == ((0, 1),)


def _detection(image_id: int, score: float, **values: object) -> dict[str, object]:
    box = [1.0, 2.0, 10.0, 20.0]
    return {"image_id": image_id, "category_id": 1, "bbox": box, "score": score} | values


def _write_detections(tiny_coco: TinyCoco, detections: list[dict[str, object]]) -> Path:
    path = tiny_coco.annotations.parent / "detections.json"
    path.write_text(json.dumps(detections))
    return path


def test_detections_become_boxes_with_scores(tiny_coco: TinyCoco) -> None:
    path = _write_detections(
        tiny_coco,
        [
            _detection(1, 0.9),
            _detection(1, 0.1),
            _detection(2, 0.8, category_id=3),
            _detection(2, 0.8, bbox=[0, 0, 0, 5]),
            _detection(4, 0.5),
        ],
    )
    found = read_detections(path, tiny_coco.annotations, tiny_coco.images, score_threshold=0.2)
    assert found.path == path
    assert found.instances.image_ids.tolist() == [1, 4]
    assert found.instances.annotation_ids.tolist() == [0, 4]
    assert found.instances.box_scores.tolist() == [0.9, 0.5]
    assert found.instances.areas.tolist() == [200, 200]
    assert found.instances.keypoints.shape == (2, 17, 3)
    assert not np.any(found.instances.keypoints)
    expected = {"score below the threshold": 1, "other category": 1, "box without area": 1}
    assert found.dropped == expected
    limited = read_detections(path, tiny_coco.annotations, tiny_coco.images, limit=1)
    assert limited.instances.annotation_ids.tolist() == [0]


def test_detections_of_unknown_images_are_refused(tiny_coco: TinyCoco) -> None:
    path = _write_detections(tiny_coco, [_detection(image_id, 1.0) for image_id in range(1, 12)])
    message = r"detections.json: image ids not in .*tiny.json: " + re.escape("7 (5, 6, 7, 8, 9, …)")
    with pytest.raises(UserError, match=message):
        read_detections(path, tiny_coco.annotations, tiny_coco.images)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"score": float("nan")}, r"at \[1\]\.score \(image_id 1\): not a finite number"),
        ({"score": None}, r"at \[1\]\.score \(image_id 1\): Expected `float`, got `null`"),
        ({"image_id": "1"}, r"at \[1\]\.image_id \(image_id '1'\): Expected `int`, got `str`"),
    ],
)
def test_broken_detections_are_refused(
    tiny_coco: TinyCoco, values: dict[str, object], message: str
) -> None:
    path = _write_detections(tiny_coco, [_detection(1, 0.9), _detection(1, 0.9) | values])
    with pytest.raises(UserError, match=rf"detections\.json: {message}"):
        read_detections(path, tiny_coco.annotations, tiny_coco.images)


def test_no_detections_left(tiny_coco: TinyCoco) -> None:
    path = _write_detections(tiny_coco, [_detection(1, 0.9)])
    with pytest.raises(UserError, match="no person is left to use; dropped: 1 x score below"):
        read_detections(path, tiny_coco.annotations, tiny_coco.images, score_threshold=0.95)
