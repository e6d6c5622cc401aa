import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cpn.report.data import GalleryItem, Kind, ReportData
from cpn.report.gallery import GalleryLimits, build_gallery, worst

BOX = [10.0, 20.0, 30.0, 40.0]


def _item(index: int, *kinds: Kind, **fields: Any) -> GalleryItem:
    item = GalleryItem(list(kinds), 1, None, BOX, annotation_id=index, oks=0.5, score=0.5)
    return replace(item, **fields)


def test_the_worst_are_the_lowest_oks_the_surest_and_the_largest() -> None:
    swaps = [_item(k, Kind.SWAP, oks=oks) for k, oks in enumerate((0.9, 0.1, 0.5))]
    wrong = [_item(k, Kind.FALSE_POSITIVE, score=s) for k, s in enumerate((0.1, 0.9), 3)]
    missed = [_item(k, Kind.FALSE_NEGATIVE, box_xywh=[0, 0, k, k], oks=None) for k in (5, 6)]
    items = [*swaps, *wrong, *missed]
    assert [x.annotation_id for x in worst(items, Kind.SWAP, 2)] == [1, 2]
    assert [x.annotation_id for x in worst(items, Kind.FALSE_POSITIVE, 9)] == [4, 3]
    assert [x.annotation_id for x in worst(items, Kind.FALSE_NEGATIVE, 9)] == [6, 5]
    assert [x.annotation_id for x in worst(items, None, 1)] == [1]


def test_found_and_shown_are_counted(report: ReportData) -> None:
    items = [_item(k, Kind.SWAP) for k in range(9)] + [_item(9, Kind.MISS, Kind.SWAP)]
    data = replace(report, gallery=items, found={Kind.MISS: 700})
    gallery = build_gallery(data, GalleryLimits(per_kind=3))
    counts = {count.name: count for count in gallery.counts}
    assert counts["miss"][1:] == (700, 1)
    assert counts["swap"].found == 10
    assert counts["swap"].shown == len(gallery.items) == 4


def test_pictures_stop_at_their_budget(report: ReportData) -> None:
    everything = build_gallery(report, GalleryLimits())
    total = sum(len(item["picture"] or "") for item in everything.items)
    half = build_gallery(report, GalleryLimits(picture_bytes=total // 2))
    spent = sum(len(item["picture"] or "") for item in half.items)
    assert total // 4 < spent <= total // 2
    kinds = {kind for item in half.items for kind in item["kinds"]}
    assert kinds == {kind for item in everything.items for kind in item["kinds"]}


def _photo(folder: Path) -> Path:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 90:110] = (0, 0, 255)  # cv2's blue, green, red
    cv2.imwrite(str(folder / "photo.png"), pixels)
    return folder / "photo.png"


def test_the_crop_is_around_box_and_points_and_shows_that_part(
    report: ReportData, tmp_path: Path
) -> None:
    truth = np.zeros((17, 3))  # not labelled: 0, 0 does not count
    truth[3] = (114, 50, 2)
    item = GalleryItem([], 1, _photo(tmp_path), [85, 35, 30, 30], 1, oks=0.5, truth=truth)
    (record,) = build_gallery(replace(report, gallery=[item]), GalleryLimits()).items
    assert record["crop"] == [81.5, 31.5, 36.0, 36.0]  # of pixels 82 .. 117
    kind, _, content = record["picture"].partition(",")
    assert kind == "data:image/webp;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (36, 36, 3)
    assert picture[18, 18, 2] > 200
    assert picture[0].max() < 80


def test_a_point_far_away_does_not_shrink_the_person(report: ReportData, tmp_path: Path) -> None:
    predicted = np.full((17, 3), 50.0)
    predicted[0] = (1e6, -1e6, 1)
    predicted[1] = (np.nan, np.inf, 1)
    item = GalleryItem([], 1, _photo(tmp_path), [90, 40, 20, 20], 1, oks=0.1, predicted=predicted)
    (record,) = build_gallery(replace(report, gallery=[item]), GalleryLimits()).items
    assert record["crop"][2] < 60
    assert record["predicted"][1] == [None, None, 1.0]


@pytest.mark.parametrize("name", [None, "missing.jpg", "broken.jpg", "photo.png"])
def test_without_a_photo_the_item_says_why(
    report: ReportData, tmp_path: Path, name: str | None
) -> None:
    _photo(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    photo = None if name is None else tmp_path / name
    item = GalleryItem([Kind.FALSE_NEGATIVE], 1, photo, [900, 900, 20, 20], 1)
    gallery = build_gallery(replace(report, gallery=[item]), GalleryLimits())
    (record,) = gallery.items
    assert record["picture"] is None
    assert record["problem"]
    expected = (0, 1) if name is None else (1, 0)
    assert (gallery.unreadable, gallery.unknown) == expected


def test_large_crops_are_made_smaller(report: ReportData, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.jpg"), np.zeros((900, 1200, 3), np.uint8))
    item = GalleryItem([Kind.MISS], 1, tmp_path / "large.jpg", [0, 0, 1200, 900], 1, oks=0.1)
    (record,) = build_gallery(replace(report, gallery=[item]), GalleryLimits(side=100)).items
    content = base64.b64decode(record["picture"].partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (75, 100, 3)
    assert record["crop"] == [-0.5, -0.5, 1200.0, 900.0]
