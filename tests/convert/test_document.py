"""COCO documents from labels: ids, boxes, areas, and who is held out."""

from pathlib import Path

import numpy as np
import pytest

from cpn.convert.document import to_documents
from cpn.convert.labels import Category, Labels, Person, Photo
from cpn.errors import UserError
from tests.convert.sources import write_photo

PAIR = Category(("left_a", "right_a"), limbs=(("left_a", "right_a"),))


def _keypoints(
    *rows: tuple[float, float, float],
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return np.array(rows, dtype=np.float64)


def _person(photo: int = 0, **more: object) -> Person:
    return Person(photo, _keypoints((10, 20, 2), (30, 60, 1)), **more)  # type: ignore[arg-type]


def test_a_box_is_made_around_keypoints_and_clipped() -> None:
    labels = Labels(PAIR, [Photo("a.png", (62, 100))], [_person()])
    documents = to_documents(labels, images=None, box_margin=0.1)
    (record,) = documents.train["annotations"]
    # Extent 20 x 40, 4 more on each side; 64 is below the photo's 62.
    assert record["bbox"] == [6, 16, 28, 46]
    assert record["area"] == round(0.53 * 28 * 46, 2)
    assert record["keypoints"] == [10, 20, 2, 30, 60, 1]
    assert record["num_keypoints"] == 2
    assert documents.boxes_made == 1
    assert documents.train["categories"] == [
        {"id": 1, "name": "person", "keypoints": ["left_a", "right_a"], "skeleton": [[1, 2]]}
    ]


def test_what_the_source_says_stays() -> None:
    person = _person(
        box_xywh=(1.23456, 2, 3, 4), area=5.5, is_crowd=True, id=40, head_box_xywh=(1, 1, 2, 2)
    )
    category = Category(("left_a", "right_a"), (), (("left_a", "right_a"),), (0.1, 0.2))
    labels = Labels(category, [Photo("a.png", (62, 100), 9, 0.5)], [person])
    document = to_documents(labels, images=None, box_margin=0.1).train
    (record,), (image,) = document["annotations"], document["images"]
    assert (record["id"], record["image_id"], record["iscrowd"]) == (40, 9, 1)
    assert (record["bbox"], record["area"]) == ([1.235, 2, 3, 4], 5.5)
    assert record["head_box"] == [1, 1, 2, 2]
    assert (image["id"], image["crowdIndex"]) == (9, 0.5)
    assert document["categories"][0]["flip_pairs"] == [["left_a", "right_a"]]
    assert document["categories"][0]["sigmas"] == [0.1, 0.2]


def test_people_without_a_box_are_counted() -> None:
    alone = Person(0, _keypoints((10, 20, 2), (3, 3, 0)))
    outside = Person(0, _keypoints((200, 20, 2), (230, 60, 2)))
    labels = Labels(PAIR, [Photo("a.png", (62, 100))], [alone, outside, _person()])
    documents = to_documents(labels, images=None, box_margin=0.1)
    assert documents.dropped == {"no box, and too few keypoints to make one": 2}
    assert [record["id"] for record in documents.train["annotations"]] == [3]
    with pytest.raises(UserError, match=r"nobody is left.*too few keypoints"):
        to_documents(Labels(PAIR, [Photo("a.png", (9, 9))], [alone]), images=None, box_margin=0.1)


def test_sizes_are_read_from_photos_where_the_source_has_none(tmp_path: Path) -> None:
    write_photo(tmp_path / "s/a.png", (50, 70))
    labels = Labels(PAIR, [Photo("s/a.png")], [_person()])
    (image,) = to_documents(labels, images=tmp_path, box_margin=0.1).train["images"]
    assert (image["height"], image["width"]) == (50, 70)
    with pytest.raises(UserError, match=r"the size of s/a\.png is not in the source; set images"):
        to_documents(labels, images=None, box_margin=0.1)
    with pytest.raises(UserError, match=r"a\.png: the photo cannot be read"):
        to_documents(labels, images=tmp_path / "s", box_margin=0.1)


def test_what_is_not_finite_is_refused() -> None:
    people = (
        Person(0, _keypoints((10, 20, 2), (np.inf, 60, 1)), (1, 2, 3, 4)),
        _person(box_xywh=(1, 2, np.nan, 4)),
        _person(head_box_xywh=(1, 2, np.nan, 4)),
    )
    for person in people:
        labels = Labels(PAIR, [Photo("a.png", (62, 100))], [_person(), person])
        with pytest.raises(UserError, match=r"^a\.png: a keypoint or box is not finite"):
            to_documents(labels, images=None, box_margin=0.1)


def test_repeated_ids_are_refused() -> None:
    photos = [Photo("a.png", (62, 100), 5), Photo("b.png", (62, 100), 5)]
    with pytest.raises(UserError, match=r"image ids that stand there twice: 1 \(5\)"):
        to_documents(Labels(PAIR, photos, [_person()]), images=None, box_margin=0.1)


def _labels(*names: str) -> Labels:
    people = [_person(photo) for photo in range(len(names))]
    return Labels(PAIR, [Photo(name, (62, 100)) for name in names], people)


def test_a_share_of_the_photos_is_held_out_with_its_people() -> None:
    labels = _labels(*(f"{k}.png" for k in range(20)))
    documents = to_documents(labels, images=None, box_margin=0.1, val_share=0.25)
    assert documents.val is not None
    train, val = (
        {image["id"] for image in document["images"]}
        for document in (documents.train, documents.val)
    )
    assert len(val) == 5
    assert train | val == set(range(1, 21))
    assert not train & val
    assert {r["image_id"] for r in documents.val["annotations"]} == val
    # It depends on names and seed alone, not on who else is there.
    again = to_documents(labels, images=None, box_margin=0.1, val_share=0.25, seed=1)
    assert again.val is not None
    assert {image["id"] for image in again.val["images"]} != val


def test_folders_stay_together() -> None:
    labels = _labels("u/1.png", "u/2.png", "v/1.png", "v/2.png", "w/1.png", "w/2.png")
    documents = to_documents(labels, images=None, box_margin=0.1, val_share=0.2, hold_out="folder")
    assert documents.val is not None
    assert len({image["file_name"][0] for image in documents.val["images"]}) == 1
    assert len(documents.val["images"]) == 2
    with pytest.raises(UserError, match="all people are in one folder, which cannot be split"):
        to_documents(
            _labels("u/1.png", "u/2.png"),
            images=None,
            box_margin=0.1,
            val_share=0.5,
            hold_out="folder",
        )


def test_a_long_video_does_not_become_the_validation_set() -> None:
    names = [f"long/{k}.png" for k in range(90)] + [f"{v}/{k}.png" for v in range(9) for k in "ab"]
    for seed in range(5):
        documents = to_documents(
            _labels(*names),
            images=None,
            box_margin=0.1,
            val_share=0.1,
            hold_out="folder",
            seed=seed,
        )
        assert documents.val is not None
        assert 10 <= len(documents.val["images"]) <= 12
        assert documents.share_held_out == len(documents.val["images"]) / 108
    both = _labels("u/1.png", *(f"v/{k}.png" for k in range(9)))
    documents = to_documents(both, images=None, box_margin=0.1, val_share=0.01, hold_out="folder")
    assert documents.share_held_out == 0.1  # there is no smaller one


def test_videos_are_told_apart_where_the_source_knows_them() -> None:
    labels = _labels("1.png", "2.png", "3.png", "4.png")
    labels.photos[:] = [
        photo._replace(video=f"video {k % 2}") for k, photo in enumerate(labels.photos)
    ]
    documents = to_documents(labels, images=None, box_margin=0.1, val_share=0.5, hold_out="folder")
    assert documents.val is not None
    names = {image["file_name"] for image in documents.val["images"]}
    assert names in ({"1.png", "3.png"}, {"2.png", "4.png"})


def test_somebody_is_in_the_photos_that_are_held_out() -> None:
    labels = _labels(*(f"{k}.png" for k in range(50)))
    del labels.people[2:]
    for seed in range(5):
        documents = to_documents(labels, images=None, box_margin=0.1, val_share=0.1, seed=seed)
        assert documents.val is not None
        assert len(documents.val["annotations"]) == 1
        assert len(documents.train["annotations"]) == 1


def test_a_box_without_area_is_made_anew_and_a_loose_one_gives_no_area() -> None:
    photo = Photo("a.png", (62, 100))
    empty, loose = (
        _person(box_xywh=(3, 3, 0, 0)),
        _person(box_xywh=(0, 0, 90, 60), box_is_loose=True),
    )
    documents = to_documents(Labels(PAIR, [photo], [empty, loose]), images=None, box_margin=0.1)
    made, given = documents.train["annotations"]
    assert made["bbox"] == [6, 16, 28, 46]
    assert documents.boxes_made == 1
    assert given["bbox"] == [0, 0, 90, 60]
    assert made["area"] == given["area"] == round(0.53 * 28 * 46, 2)


def test_photos_of_one_name_are_refused() -> None:
    with pytest.raises(UserError, match=r"a\.png: 2 photos would have this name \(1 such"):
        to_documents(_labels("a.png", "b.png", "a.png"), images=None, box_margin=0.1)
