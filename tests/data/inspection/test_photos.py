import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpn.coco.records import CocoPhoto
from cpn.data.inspection.finding import Finding
from cpn.data.inspection.photos import PhotoReport, inspect_photos
from tests.conftest import with_exif_orientation

WIDTH, HEIGHT = 60, 40


def photo(number: int, file_name: str, width: int = WIDTH, height: int = HEIGHT) -> CocoPhoto:
    return CocoPhoto(id=number, file_name=file_name, width=width, height=height)


def jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """1.jpg and 2.jpg."""
    for number in (1, 2):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    return tmp_path


def inspect(folder: Path, *photos: CocoPhoto) -> PhotoReport:
    return inspect_photos(photos, folder, needed=range(10), threads=2)


def only(report: PhotoReport) -> Finding:
    (finding,) = report.findings
    return finding


def test_sound_photos_have_a_digest_each(folder: Path) -> None:
    report = inspect(folder, photo(1, "1.jpg"), photo(2, "2.jpg"))
    assert report.findings == []
    assert sorted(report.names.values()) == ["1.jpg", "2.jpg"]


def test_another_size_is_an_error(folder: Path) -> None:
    finding = only(inspect(folder, photo(1, "1.jpg"), photo(2, "2.jpg", width=61)))
    assert (finding.severity, finding.ids, finding.unit) == ("error", (2,), "photo")
    assert "(first: 2.jpg is 60 x 40, stated 61 x 40)" in finding.what
    assert "EXIF" not in finding.what


def test_a_turn_by_exif_is_recognised(folder: Path) -> None:
    (folder / "2.jpg").write_bytes(with_exif_orientation(jpeg(2), 6))
    finding = only(inspect(folder, photo(2, "2.jpg", HEIGHT, WIDTH)))
    assert "but for a turn by the EXIF orientation" in finding.what
    assert "exiftran" in finding.advice
    assert inspect(folder, photo(2, "2.jpg")).findings == []


def test_files_that_do_not_decode_are_grouped(folder: Path) -> None:
    (folder / "1.jpg").write_bytes(jpeg(1)[:-100])
    (folder / "2.jpg").write_bytes(jpeg(2)[:-200])
    (folder / "3.jpg").write_bytes(b"<html>")
    cut, page = inspect(folder, *(photo(i, f"{i}.jpg") for i in (1, 2, 3))).findings
    assert cut.text == (
        "2 photos (ids 1, 2): the JPEG file is cut off (first: 1.jpg); fetch it again or leave it"
        " out"
    )
    kinds = "it is a web page, allowed are JPEG, PNG, WebP or BMP"
    assert (page.ids, page.what) == ((3,), f"not a readable image: {kinds} (first: 3.jpg)")


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("1.JPG", "1.JPG, did you mean 1.jpg?"),
        ("2.png", "2.png, did you mean 2.jpg?"),
        ("train/2.jpg", "train/2.jpg, did you mean 2.jpg?"),
        ("7.jpg", "7.jpg"),
    ],
)
def test_a_missing_file_may_have_a_near_name(folder: Path, wanted: str, hint: str) -> None:
    finding = only(inspect(folder, photo(1, wanted)))
    assert finding.what == f"the file is missing (first: {hint})"
    assert finding.severity == "error"


@pytest.mark.parametrize("name", ["../1.jpg", "/1.jpg"])
def test_names_that_lead_out_are_not_followed(folder: Path, name: str) -> None:
    assert only(inspect(folder, photo(1, name))).what.startswith("'file_name' leads out")


def test_a_folder_in_place_of_a_file(folder: Path) -> None:
    (folder / "3.jpg").mkdir()
    found = only(inspect(folder, photo(3, "3.jpg")))
    assert found.what.startswith("cannot read the image: Is a directory")


def test_a_photo_of_too_many_pixels_is_not_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("cpn.data.inspection.photos.decode_stored")
    report = inspect_photos([photo(1, "1.jpg")], folder, needed=[1], max_megapixels=0.0023)
    (finding,) = report.findings
    assert (finding.severity, finding.ids) == ("error", (1,))
    assert finding.what == "the photo is 60 x 40 (first: 1.jpg)"
    assert finding.advice.startswith("0.0024 megapixels are more than max_megapixels=0.0023")


def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "3.jpg")
    found = only(inspect(folder, photo(3, "3.jpg")))
    assert found.what.startswith("cannot read the image: it is no file")


def test_a_photo_without_people_is_no_error(folder: Path) -> None:
    report = inspect_photos([photo(1, "7.jpg"), photo(2, "8.jpg")], folder, needed=[2])
    first, second = report.findings
    assert (first.severity, first.ids, second.severity) == ("warning", (1,), "error")
    assert first.what.startswith("nobody is annotated in it, and the file is missing")


def test_the_same_content_twice_is_told(folder: Path) -> None:
    (folder / "3.jpg").write_bytes(jpeg(1))
    report = inspect(folder, *(photo(i, f"{i}.jpg") for i in (1, 2, 3)))
    finding = only(report)
    assert (finding.severity, finding.ids) == ("warning", (3,))
    assert "(first: 1.jpg and 3.jpg)" in finding.what
    assert sorted(report.names.values()) == ["1.jpg", "2.jpg"]


def test_a_missing_folder_is_one_error(tmp_path: Path) -> None:
    finding = only(inspect(tmp_path / "none", photo(1, "1.jpg"), photo(2, "2.jpg")))
    assert finding.what == f"there is no image folder at {tmp_path / 'none'}"


def test_every_state_is_watched(folder: Path) -> None:
    seen: list[int] = []
    inspect_photos(
        [photo(1, "1.jpg"), photo(2, "2.jpg")],
        folder,
        needed=(),
        watch=lambda states: (seen.append(state.photo.id) or state for state in states),  # type: ignore[func-returns-value]
    )
    assert seen == [1, 2]
