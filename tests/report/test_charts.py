import math
import re
from dataclasses import replace
from typing import Any

import numpy as np

from cpn.report.charts import charts, figure_text
from cpn.report.data import (
    Calibration,
    Curve,
    CurveGroup,
    ErrorBreakdown,
    ErrorType,
    Figure,
    KeypointRow,
    ReliabilityBin,
    ReportData,
    Slice,
)
from cpn.report.drawing import Chart, style, to_pixels, to_svg
from cpn.report.palette import LIGHT


def _one(report: ReportData, key: str, **part: Any) -> Chart:
    """One chart of a report that has this part alone."""
    empty = {"curves": (), "keypoints": (), "parts": (), "errors": None, "slices": ()}
    data = replace(report, **{**empty, "calibration": (), **part})
    (chart,) = [chart for chart in charts(data) if chart.key == key]
    return chart


def test_every_part_has_its_charts(report: ReportData) -> None:
    assert [chart.key for chart in charts(report)] == [
        *("curves-0", "curves-1", "keypoints-ap", "keypoints-types", "parts-ap", "parts-types"),
        *("errors-gain", "errors-count", "slices-0", "slices-1", "slices-2", "slices-3"),
        *("calibration-0", "calibration-1"),
    ]


def test_what_is_empty_has_none(report: ReportData) -> None:
    empty = replace(report, curves=(), keypoints=(), parts=(), errors=None, slices=())
    assert charts(replace(empty, calibration=())) == []


def test_ids_are_unique_and_colours_follow_the_theme(report: ReportData) -> None:
    drawn = "".join(to_svg(chart) for chart in charts(report))
    ids = re.findall(r' id="([^"]+)"', drawn)
    assert len(ids) == len(set(ids)) > 10
    assert set(re.findall(r'href="#([^"]+)"', drawn)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]+)\)", drawn)) <= set(ids)
    assert "var(--ink)" in drawn
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()
    assert "<style" not in drawn


def test_marks_say_their_numbers(report: ReportData) -> None:
    rows = [KeypointRow("nose", {"all": Figure(0.5, 0.4, 0.6)}), KeypointRow("x", {})]
    drawn = to_svg(_one(report, "keypoints-ap", keypoints=rows))
    assert "<title>nose: 0.500 (0.400 to 0.600)</title>" in drawn
    assert (
        'role="img" aria-label="AP per keypoint. nose: 0.500 (0.400 to 0.600); x: \N{EN DASH}'
        in drawn
    )


def test_names_are_no_formula_no_markup_and_may_be_long(report: ReportData) -> None:
    names = ["$\\frac{$", "<script>x</script>", "a\x00b\nc\udc80", "ü" * 300, "人"]
    slices = [Slice("g", name, 3, Figure(0.5)) for name in names]
    drawn = to_svg(_one(report, "slices-0", slices=slices))
    assert "<script" not in drawn
    assert "$\\frac{$" in drawn
    assert drawn.encode()
    assert to_pixels(_one(report, "slices-0", slices=slices)).size


def test_gains_are_from_the_base(report: ReportData) -> None:
    errors = ErrorBreakdown([ErrorType("swap", 12_345, 0.75), ErrorType("odd", 1, None)], 0.7)
    gains, counts = (_one(report, f"errors-{key}", errors=errors) for key in ("gain", "count"))
    assert "swap: +0.050" in gains.summary
    assert "odd" not in gains.summary
    assert "swap: 12,345; odd: 1" in counts.summary


def test_a_slice_s_number_of_people_is_never_cut_off(report: ReportData) -> None:
    slices = [Slice("g", name, 12_345, Figure(0.5)) for name in ("0.333 to 0.667", "x" * 40)]
    drawn = to_svg(_one(report, "slices-0", slices=slices))
    assert drawn.count("n=12,345<") == 2


def test_scores_of_any_size_are_in_the_picture(report: ReportData) -> None:
    bins = [ReliabilityBin(-2.0, 0.0, 3, -1.5, 0.1), ReliabilityBin(0.0, 2.0, 4, 1.5, 0.9)]
    chart = _one(report, "calibration-0", calibration=[Calibration("given", bins, 1.0)])
    assert [axes.get_xlim() for axes in chart.figure.axes] == [(-2.0, 2.0)] * 2


def test_a_curve_with_a_point_for_each_detection_stays_small(report: ReportData) -> None:
    recall = np.linspace(0, 1, 100_000)
    group = CurveGroup("all", [Curve("OKS 0.50", recall, 1 - recall**2, 0.67)])
    chart = _one(report, "curves-0", curves=[group])
    assert "OKS 0.50: AP 0.670" in chart.summary
    assert len(to_svg(chart)) < 30_000


def test_pixels_are_for_light_paper_with_the_title(report: ReportData) -> None:
    pixels = to_pixels(_one(report, "curves-0", curves=report.curves))
    assert pixels.dtype == np.uint8
    assert pixels.shape[1:] == (640, 3)
    paper = tuple(int(LIGHT["paper"][at : at + 2], 16) for at in (1, 3, 5))
    assert tuple(pixels[0, 0]) == paper
    assert (pixels[:60] < 128).any(), "no title"


def test_the_user_s_style_stays_out_and_comes_back(report: ReportData) -> None:
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context({"lines.linewidth": 9.0, "text.usetex": True}):
        assert len(charts(report)) == 14
        with style():
            assert mpl.rcParams["text.usetex"] is False
        assert mpl.rcParams["text.usetex"] is True


def test_figures_as_text() -> None:
    assert figure_text(Figure(0.7123)) == "0.712"
    assert figure_text(Figure(0.0312), signed=True) == "+0.031"
    assert figure_text(Figure(1204)) == "1,204"
    assert figure_text(Figure(math.nan)) == "\N{EN DASH}"
    assert figure_text(Figure(0.7, 0.65, 0.75), interval=True) == "0.700 (0.650 to 0.750)"
