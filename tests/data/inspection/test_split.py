from pathlib import Path

import pytest

from cpn.data.inspection import SplitReport, inspect_split
from cpn.errors import UserError
from tests.conftest import TinyCoco


def inspect(tiny_coco: TinyCoco, *, needs_area: bool = True) -> SplitReport:
    return inspect_split(
        tiny_coco.annotations,
        tiny_coco.images,
        sigmas=None,
        flip_pairs=None,
        needs_area=needs_area,
    )


def errors(report: SplitReport) -> list[str]:
    return [finding.text for finding in report.findings if finding.severity == "error"]


def test_a_sound_split(tiny_coco: TinyCoco) -> None:
    report = inspect(tiny_coco)
    assert errors(report) == []
    assert report.needed == {1, 2, 3, 4}
    assert [photo.id for photo in report.photos] == [1, 2, 3, 4]
    assert report.facts["photos"] == "4, all 64 x 48 pixels"
    assert report.facts["people"] == "6 with box and keypoints, of 6 annotations"
    assert report.facts["boxes"] == "40 pixels high (median; 90 % are 40 to 40)"
    assert report.facts["keypoints"] == "17 names, 16.0 labelled of a person"


def test_shares_are_of_the_people_and_of_the_labelled(tiny_coco: TinyCoco) -> None:
    """Of six people, number i lacks keypoint i; two of the other noses become hidden."""
    document = tiny_coco.read()
    for person in document["annotations"][:2]:
        person["keypoints"][2] = 1
    document["annotations"][5]["keypoints"] = [0] * 51
    tiny_coco.write(document)
    nose, left_eye, *_ = inspect(tiny_coco).keypoints
    assert (nose.name, nose.labelled, nose.visible, nose.sigma) == ("nose", 1, 0.6, 0.026)
    assert (left_eye.labelled, left_eye.visible) == (0.8, 1)


def test_photo_sizes_are_given_by_area(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    for image, size in zip(
        document["images"], [(90, 90), (70, 60), (200, 50), (64, 48)], strict=True
    ):
        image["width"], image["height"] = size
    tiny_coco.write(document)
    expected = "4; width x height from 64 x 48 to 200 x 50 pixels, median 90 x 90"
    assert inspect(tiny_coco).facts["photos"] == expected


def test_photos_of_broken_people_are_needed_and_not_called_empty(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["annotations"][0]["bbox"] = [1]
    tiny_coco.write(document)
    report = inspect(tiny_coco)
    assert [text[:19] for text in errors(report)] == ["1 annotation (id 1)"]
    assert report.needed == {1, 2, 3, 4}
    assert not any("nobody is annotated" in finding.what for finding in report.findings)


def test_a_photo_without_people_is_not_needed(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    del document["annotations"][0]
    tiny_coco.write(document)
    report = inspect(tiny_coco)
    assert report.needed == {2, 3, 4}
    assert [f.ids for f in report.findings if f.what == "nobody is annotated"] == [(1,)]


def test_another_layout_hides_what_follows_from_it(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    for person in document["annotations"]:
        person["keypoints"][0::3] = [x / 64 for x in person["keypoints"][0::3]]
        person["keypoints"][1::3] = [y / 48 for y in person["keypoints"][1::3]]
    tiny_coco.write(document)
    (finding,) = inspect(tiny_coco).findings
    assert finding.what == "all values of 'keypoints' are between 0 and 1"


def test_nobody_is_an_error(tiny_coco: TinyCoco) -> None:
    tiny_coco.write(tiny_coco.read() | {"annotations": []})
    assert errors(inspect(tiny_coco)) == [
        "nobody has a box and labelled keypoints; there is nothing to train on"
    ]


def test_a_missing_area_is_an_error_for_evaluation(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    del document["annotations"][3]["area"]
    tiny_coco.write(document)
    assert len(errors(inspect(tiny_coco))) == 1
    assert errors(inspect(tiny_coco, needs_area=False)) == []


def test_a_person_without_keypoint_names_is_refused(tiny_coco: TinyCoco, tmp_path: Path) -> None:
    tiny_coco.write(tiny_coco.read() | {"categories": [{"id": 1, "name": "person"}]})
    with pytest.raises(UserError, match=r"tiny\.json: needs a category with 'keypoints'"):
        inspect(tiny_coco)
