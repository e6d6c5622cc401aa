import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cpn.report.data import (
    Calibration,
    CurveGroup,
    ErrorBreakdown,
    ErrorType,
    Figure,
    GalleryItem,
    KeypointRow,
    Kind,
    ReliabilityBin,
    ReportData,
    Section,
    Slice,
)
from cpn.report.gallery import GalleryLimits
from cpn.report.page import write_report
from cpn.skeleton import COCO_17
from tests.report.conftest import Page
from tests.report.examples import people_report

MEGABYTE = 1_000_000


@pytest.fixture
def bare() -> ReportData:
    return ReportData(
        title="bare",
        created=datetime(2026, 11, 23, tzinfo=UTC),
        command_line="evaluate",
        box_source="boxes.json",
        skeleton=COCO_17,
        num_images=1,
        num_people=0,
        num_detections=0,
        headline={"AP": Figure(0.5), "APL": Figure(float("nan"))},
    )


def _write(data: ReportData, folder: Path) -> Page:
    path = folder / "page.html"
    assert write_report(data, path) == path.stat().st_size
    return Page(path)


def test_nothing_is_loaded_from_anywhere(page: Page) -> None:
    loading = {"src", "href", "srcset", "data", "poster", "action", "formaction", "background"}
    for tag, attributes in page.elements:
        for name in loading & attributes.keys():
            value = attributes[name] or ""
            assert value.startswith(("#", "data:")), f"<{tag} {name}={value[:60]}>"
    assert not {"iframe", "object", "embed", "base", "audio", "video"} & {
        x for x, _ in page.elements
    }
    assert re.findall(r"@import|url\((?!#)", page.source) == []
    addresses = set(re.findall(r"\bhttps?://[^\s\"'<]+", page.source))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG in the script
    (policy,) = [x["content"] for x in page.all("meta") if "http-equiv" in x]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_section_is_there_and_named(page: Page) -> None:
    sections = [section["id"] for section in page.all("section")]
    assert sections == ["headline", *Section]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for section in page.all("section"):
        assert section["aria-labelledby"] in ids
    links = [link["href"] for link in page.all("a")]
    assert [f"#{name}" for name in sections] == links[1:]


def test_the_headline_says_numbers_intervals_boxes_and_facts(
    page: Page, report: ReportData
) -> None:
    text = " ".join(page.text["headline"].split())
    assert f"{report.num_people} people in {report.num_images} images" in text
    for piece in ("AP50", "0.712", "ground truth", "95 % bootstrap", "2026-11-23 15:04 UTC"):
        assert piece in text
    assert re.search(r"AP 0\.692 interval 0\.\d{3}\N{EN DASH}0\.\d{3} AP50 0\.712", text)
    assert "python scripts/evaluate.py checkpoint=" in text
    assert "CPN ResNet-50" in text


def test_tables_have_captions_and_headers_and_charts_words(page: Page) -> None:
    assert len(page.all("table")) == len(page.all("caption")) == 6
    assert all(header["scope"] in {"col", "row"} for header in page.all("th"))
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(charts) == len(page.all("figure")) == 14
    assert all(svg["aria-label"] for svg in charts)
    assert "left wrist" in page.text["keypoints"]


def test_what_a_number_is_of_stands_beside_it(
    page: Page, report: ReportData, tmp_path: Path
) -> None:
    assert "within 0.2 torso lengths, people without a result counted" in page.text["keypoints"]
    assert "keypoints of people with a result" in page.text["keypoints"]
    assert "not with AP over all" in page.text["slices"]
    assert "so far fixed" not in page.text["errors"]
    assert report.errors is not None
    types = [replace(one, ap_in_turn=0.8125) for one in report.errors.types]
    unknown = [replace(report.gallery[0], photo=None)]
    errors = replace(report.errors, types=types)
    other = _write(replace(report, errors=errors, gallery=unknown), tmp_path)
    assert "AP if all so far fixed" in other.text["errors"]
    assert other.text["errors"].count("0.812") == len(types)
    text = " ".join(other.text["gallery"].split())
    assert "1 of them without a picture, as it is not known where their photo is" in text
    assert "could not be read" not in text


def test_what_was_not_evaluated_says_so(bare: ReportData, tmp_path: Path) -> None:
    why = {Section.GALLERY: "Left out: results files have no photos <here>."}
    page = _write(replace(bare, why_missing=why), tmp_path)
    for section in Section:
        assert "Left out: " in page.text[section], section
    assert "results files have no photos <here>." in page.text["gallery"]
    assert "Without intervals." in page.text["headline"]
    assert "no ground truth" in page.text["headline"]
    assert page.all("figure") == []


def test_names_and_paths_are_text(bare: ReportData, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'\"&{{ 7 * 7 }}\udcff\x00"
    item = GalleryItem([Kind.MISS], 1, tmp_path / "a" / evil.replace("/", "").replace("\x00", ""),
                       [0, 0, 9, 9], 1, oks=0.1)  # fmt: skip
    data = replace(
        bare,
        title=evil,
        command_line=evil,
        box_source=evil,
        interval_note=evil,
        facts={evil: evil},
        headline={evil: Figure(0.5)},
        skeleton=replace(COCO_17, keypoint_names=(evil, *COCO_17.keypoint_names[1:])),
        gallery=[item],
    )
    page = _write(data, tmp_path)
    assert len(page.all("script")) == 2
    assert page.all("img") == []
    assert "{{ 7 * 7 }}" in page.text["headline"]
    assert "alert(1)" not in page.scripts[-1]
    (block,) = [text for text in page.scripts if text.startswith("{")]
    assert json.loads(block)["items"][0]["name"].startswith("<script>")
    assert "<" not in block


def test_nothing_at_all_numpy_s_numbers_and_nan_are_shown(bare: ReportData, tmp_path: Path) -> None:
    nan = math.nan
    nobody = GalleryItem([Kind.MISS], 1, Path(os.devnull), [0, 0, 0, 0], oks=nan)
    numbers: dict[str, Any] = {"image_id": np.int64(3), "annotation_id": np.int64(4)}
    numbers |= {"score": np.float32(0.5), "box_xywh": np.array([1.0, 2.0, 3.0, 4.0])}
    data = replace(
        bare,
        headline={"AP": Figure(0.5, nan, nan), "odd": Figure(1.3)},
        curves=[CurveGroup("none", [])],
        keypoints=[KeypointRow("nose", {"all": Figure(nan)})],
        errors=ErrorBreakdown([ErrorType("swap", 0, nan)], nan),
        slices=[
            Slice("size", "large", 0, Figure(nan)),
            Slice("size", "x", 1, Figure(0.1, nan, nan)),
        ],
        calibration=[Calibration("raw", [ReliabilityBin(0, 0.1, 0, nan, nan)], nan)],
        gallery=[nobody, replace(nobody, **numbers, predicted=np.full((17, 3), nan))],
    )
    page = _write(data, tmp_path)
    assert "nan" not in " ".join(page.text.values())
    (block,) = [text for text in page.scripts if text.startswith("{")]
    assert [item["annotation"] for item in json.loads(block)["items"]] == [None, 4]
    assert "NaN" not in block


def test_a_photo_that_cannot_be_read_is_counted(page: Page) -> None:
    text = " ".join(page.text["gallery"].split())
    assert "1 of them without a picture, as their photo could not be read." in text
    assert re.search(r"swap \d+ of \d+", text)


def test_the_file_is_replaced_whole_or_not_at_all(bare: ReportData, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        write_report(bare, tmp_path / "file" / "page.html")
    path = tmp_path / "new" / "page.html"
    assert write_report(bare, path) == write_report(replace(bare), path) == path.stat().st_size
    assert [each.name for each in path.parent.iterdir()] == ["page.html"]


def test_the_same_report_is_the_same_file(
    report: ReportData, report_file: Path, tmp_path: Path
) -> None:
    _write(report, tmp_path)
    assert (tmp_path / "page.html").read_bytes() == report_file.read_bytes()


def test_many_instances_stay_within_the_budget(
    report: ReportData, bare: ReportData, tmp_path: Path
) -> None:
    many = [replace(item, annotation_id=k) for k in range(500) for item in report.gallery]
    limits = GalleryLimits(per_kind=40, picture_bytes=MEGABYTE // 4)
    size = write_report(replace(bare, gallery=many), tmp_path / "page.html", limits=limits)
    assert MEGABYTE // 5 < size < MEGABYTE


@pytest.mark.people
def test_real_photos_are_all_read(tmp_path: Path) -> None:
    if "CPN_PEOPLE" not in os.environ:
        pytest.skip("set CPN_PEOPLE to the folder of the real photos to run this")
    page = _write(people_report(Path(os.environ["CPN_PEOPLE"])), tmp_path)
    assert "without a picture" not in page.text["gallery"]
    assert page.source.count("data:image/webp") > 100
    assert len(page.source) < 10 * MEGABYTE


def test_importing_the_input_does_not_draw() -> None:
    code = "import cpn, cpn.report.data, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert not {"matplotlib", "jinja2", "torch", "cv2"} & set(loaded.stdout.decode().split())
