"""What is left out of a training file, and how much of it may be."""

import logging

import pytest

from cpn.data.annotations import PersonAnnotations, Standards, read_person_annotations
from cpn.data.image_files import MISSING, TOO_LARGE
from cpn.errors import UserError
from tests.conftest import TinyCoco


def read(data: TinyCoco, standards: Standards = Standards(max_skipped=0.5)) -> PersonAnnotations:  # noqa: B008
    return read_person_annotations(data.annotations, data.images, standards=standards)


def test_broken_records_are_counted_apart_from_useless_ones(
    tiny_coco: TinyCoco, caplog: pytest.LogCaptureFixture
) -> None:
    document = tiny_coco.read()
    people = document["annotations"]
    people[0]["iscrowd"] = 1
    people[1]["bbox"] = None
    people[2]["keypoints"][2] = 7
    tiny_coco.write(document)
    with caplog.at_level(logging.WARNING):
        found = read(tiny_coco)
    assert found.instances.annotation_ids.tolist() == [4, 5, 6]
    assert found.dropped == {"crowd": 1}
    assert found.gaps.counts == {
        "annotation: wrong 'bbox'": 1,
        "annotation: v that is not 0, 1 or 2": 1,
    }
    assert found.gaps.left_out == 2
    (line,) = caplog.messages
    assert "tiny.json: 2 of 6 people cannot be used: 1 x annotation: v that is not" in line
    assert "at annotations[1].bbox (id 2)" in line
    with pytest.raises(UserError, match=r"annotations\[1\]\.bbox \(id 2\)"):
        read(tiny_coco, Standards())


def test_people_without_a_photo_keep_their_places(tiny_coco: TinyCoco) -> None:
    (tiny_coco.images / "003.png").unlink()
    found = read(tiny_coco)
    assert found.instances.annotation_ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.gaps.missing == {2, 3}
    assert (found.gaps.counts, found.gaps.left_out) == ({MISSING: 2}, 0)
    message = r"missing in .*: 1 \(003\.png\), the first one of annotation 3; add them or remove"
    with pytest.raises(UserError, match=message):
        read(tiny_coco, Standards())


def test_photos_that_are_not_needed_may_be_missing(tiny_coco: TinyCoco) -> None:
    (tiny_coco.images / "003.png").unlink()
    found = read(tiny_coco, Standards(needs_photos=False))
    assert (len(found.instances), found.gaps.missing) == (6, frozenset())


def test_people_in_too_large_photos_are_left_out(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["images"][0] |= {"width": 8000, "height": 7000}
    tiny_coco.write(document)
    found = read(tiny_coco)
    assert found.instances.annotation_ids.tolist() == [2, 3, 4, 5, 6]
    assert (found.gaps.counts, found.gaps.left_out) == ({TOO_LARGE: 1}, 1)
    message = (
        r"tiny\.json: image 1 \(001\.png\) is 8000 x 7000 by its 'width' and 'height'; 56 megapix"
        r"els are more than max_megapixels=50 \(data\.max_megapixels in train\.py\): make the photo"
    )
    with pytest.raises(UserError, match=message):
        read(tiny_coco, Standards())
    assert len(read(tiny_coco, Standards(max_megapixels=56)).instances) == 6


def test_people_in_photos_listed_twice_are_left_out(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["images"][1]["file_name"] = "003.png"
    tiny_coco.write(document)
    found = read(tiny_coco)
    assert found.instances.annotation_ids.tolist() == [1, 5, 6]
    expected = {"image: repeated file_name": 2, "annotation: image_id of no image": 3}
    assert (found.gaps.counts, found.gaps.left_out) == (expected, 3)
    message = r"file_name used more than once: 1 \(003\.png\); 003\.png is that of records 1 and 2"
    with pytest.raises(UserError, match=message):
        read(tiny_coco, Standards())


@pytest.mark.parametrize(("share", "enough"), [(0.5, True), (0.49, False), (0.0, False)])
def test_the_ceiling(tiny_coco: TinyCoco, share: float, *, enough: bool) -> None:
    """Three of six cannot be used: two for their records, one for its photo."""
    document = tiny_coco.read()
    for person in document["annotations"][2:4]:
        person["area"] = "large"
    tiny_coco.write(document)
    (tiny_coco.images / "001.png").unlink()
    if enough:
        assert len(read(tiny_coco, Standards(max_skipped=share)).instances) == 4
        return
    message = (
        rf"tiny\.json: 3 of 6 people cannot be used, more than data\.max_skipped={share:g} of them:"
        r" 2 x annotation: wrong 'area', 1 x photo: missing; mend the file or raise that\. First"
    )
    with pytest.raises(UserError, match=message) as caught:
        read(tiny_coco, Standards(max_skipped=share))
    assert "\n" not in str(caught.value)


def test_nothing_broken_passes_a_ceiling_of_nothing(tiny_coco: TinyCoco) -> None:
    assert read(tiny_coco, Standards(max_skipped=0.0)).gaps.counts == {}


def test_what_leads_out_of_the_folder_is_never_skipped(tiny_coco: TinyCoco) -> None:
    document = tiny_coco.read()
    document["images"][2]["file_name"] = "../x.png"
    tiny_coco.write(document)
    with pytest.raises(UserError, match=r"files outside .*: 1 \(\.\./x\.png\), .*of annotation 3"):
        read(tiny_coco)
