import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from cpn.ablation.charts import charts, spread
from cpn.ablation.keypoint_chart import STRONGEST, opacity
from cpn.ablation.learning_chart import MAX_POINTS, mean, thinned
from cpn.ablation.outcome import Curve, Gap, StudyOutcome
from cpn.report.drawing import Chart, to_svg
from cpn.report.palette import DARK, LIGHT, contrast
from tests.ablation.examples import hostile, large, single_seed, study, unfinished


@cache
def _drawn(make: Callable[[], StudyOutcome]) -> dict[str, Chart]:
    return {chart.key: chart for chart in charts(make())}


@pytest.fixture
def drawn() -> dict[str, Chart]:
    return _drawn(study)


def _one(outcome: StudyOutcome, key: str) -> Chart:
    (chart,) = [chart for chart in charts(outcome) if chart.key == key]
    return chart


def _lines(chart: Chart, axes: int = 0) -> list[Any]:
    return list(chart.figure.axes[axes].get_lines())


def _by_gid(chart: Chart) -> dict[str, Any]:
    return {str(line.get_gid()): line for line in _lines(chart) if line.get_gid()}


def test_every_part_has_its_charts(drawn: dict[str, Chart]) -> None:
    learning = [f"learning-{place}" for place in range(5)]
    assert list(drawn) == ["difference-0", "cost-own", "cost-paper", "keypoints-0", *learning]


def test_without_published_figures_there_is_no_hollow_mark() -> None:
    keys = list(_drawn(single_seed))
    assert "cost-paper" not in keys
    assert "paper" not in to_svg(_drawn(single_seed)["difference-0"])


def test_what_is_not_known_is_not_drawn() -> None:
    nothing = replace(study(), variants=unfinished().variants[3:4])
    assert [chart.key for chart in charts(nothing)] == []
    chart = _drawn(unfinished)["difference-0"]
    assert "C2-C4, paper: -0.3" in chart.summary  # no run of ours, but the paper's
    assert "C2-C4: " not in chart.summary
    assert "C5_alone" not in _drawn(unfinished)["cost-own"].summary  # its costs are unknown


def test_differences_stand_beside_the_paper_s(drawn: dict[str, Chart]) -> None:
    chart = drawn["difference-0"]
    assert chart.tips["paper0"] == "C2, paper: -1.1"
    assert "C2: -2.8 (-4.3 to -1.4), p (Holm) 0.029" in chart.summary
    marks = _by_gid(chart)
    assert marks["paper0"].get_xdata() == pytest.approx([68.3 - 69.4])
    assert marks["paper0"].get_markerfacecolor() == LIGHT["paper"]
    own = marks["own--0_16"]
    assert own.get_xdata() == pytest.approx([100 * (0.6841 - 0.7123)])
    assert own.get_color() == LIGHT["jitter"]  # worse
    assert marks["own-1_84"].get_color() == LIGHT["score"]  # not significant
    labels = [text.get_text() for text in chart.figure.legends[0].get_texts()]
    assert labels == ["worse", "not significant", "paper"]


def test_ap_against_gflops_has_error_bars_where_there_are_intervals(
    drawn: dict[str, Chart],
) -> None:
    chart = drawn["cost-own"]
    assert "C2-C5: 6.111 GFLOPs, AP 71.2 (69.9 to 72.4)" in chart.summary
    bars = [line for line in _lines(chart) if line.get_linewidth() == 1.4]
    assert len(bars) == 5
    assert bars[0].get_ydata() == pytest.approx([69.93, 72.43])
    assert bars[0].get_xdata() == pytest.approx([6.1107, 6.1107])
    bare = _drawn(single_seed)["cost-own"]
    assert not [line for line in _lines(bare) if line.get_linewidth() == 1.4]
    assert "C2-C5: 6.111 GFLOPs, AP 71.2;" in bare.summary
    paper = drawn["cost-paper"]
    assert "C2: 5.02 GFLOPs, AP 68.3" in paper.summary
    hollow = _by_gid(paper).values()
    assert {line.get_markerfacecolor() for line in hollow} == {LIGHT["paper"]}


def test_labels_of_fourteen_points_do_not_lie_on_each_other() -> None:
    chart = _drawn(large)["cost-own"]
    to_svg(chart)
    texts = [text.get_window_extent() for text in chart.figure.axes[0].texts]
    assert len(texts) == 14
    rows = sorted(texts, key=lambda box: box.y0)
    gaps = [upper.y0 - lower.y0 for lower, upper in pairwise(rows)]
    assert min(gaps) >= 8.0 * chart.figure.dpi / 72  # of text of 8 points


def test_spread_by_hand() -> None:
    assert spread(np.array([0.5]), 0.1) == pytest.approx([0.5])
    assert spread(np.array([0.1, 0.5]), 0.1) == pytest.approx([0.1, 0.5])
    assert spread(np.array([0.5, 0.5, 0.5]), 0.1) == pytest.approx([0.4, 0.5, 0.6])
    assert spread(np.array([1.0, 1.0]), 0.2) == pytest.approx([0.8, 1.0])
    assert spread(np.array([0.0, 0.0]), 0.2) == pytest.approx([0.0, 0.2])
    assert spread(np.zeros(3), 5.0) == pytest.approx([0.0, 0.5, 1.0])
    assert spread(np.zeros(0), 0.1).shape == (0,)


def test_cells_say_their_numbers_and_significant_ones_are_framed() -> None:
    base, other, *_ = study().variants
    gaps = {
        "nose": Gap(0.04, 0.01, 0.07, 0.049, 0.3),
        "left_hip": Gap(-0.01, -0.02, 0.01, 0.05, 0.05),
        "left_eye": Gap(math.nan, math.nan, math.nan, math.nan, math.nan),
    }
    outcome = replace(study(), variants=(base, replace(other, keypoints=gaps)))
    chart = _one(outcome, "keypoints-0")
    assert list(chart.tips.values()) == [
        "C2, nose: +4.0 (+1.0 to +7.0), p 0.049",
        "C2, left hip: -1.0 (-2.0 to +1.0), p 0.050",
    ]
    cells: Any = chart.figure.axes[0].patches
    nose, hip = cells
    assert nose.get_facecolor()[2] > nose.get_facecolor()[0]  # blue
    assert hip.get_facecolor()[2] < hip.get_facecolor()[0]  # orange
    assert (nose.get_facecolor()[3], hip.get_facecolor()[3]) == (STRONGEST, STRONGEST / 2)
    assert (nose.get_linewidth(), hip.get_edgecolor()[3]) == (1.2, 0.0)
    texts = [text.get_text() for text in chart.figure.axes[0].texts]
    assert texts == ["+4.0", "\N{MINUS SIGN}1.0", "\N{EN DASH}"]
    assert "var(--accent)" in to_svg(chart)


def test_colours_are_centred_on_zero_and_numbers_on_them_are_read() -> None:
    assert opacity(0.0) == 0.0
    assert opacity(-0.25) == opacity(0.25) == STRONGEST / 2
    for colors in (LIGHT, DARK):
        for name in ("accent", "jitter"):
            mixed = "#" + "".join(
                f"{round(STRONGEST * a + (1 - STRONGEST) * b):02x}"
                for a, b in zip(_rgb(colors[name]), _rgb(colors["paper"]), strict=True)
            )
            assert contrast(colors["ink"], mixed) >= 4.5


def _rgb(color: str) -> list[int]:
    return [int(color[at : at + 2], 16) for at in (1, 3, 5)]


def test_no_difference_at_all_is_no_heat_map() -> None:
    base, other, *_ = study().variants
    same = replace(other, keypoints={"nose": Gap(0.0, 0.0, 0.0, 1.0, 1.0)})
    assert "keypoints-0" not in [x.key for x in charts(replace(study(), variants=(base, same)))]


def test_learning_curves_have_a_line_per_seed_and_their_mean() -> None:
    base, other, *_ = study().variants
    curves = (
        Curve(0, ((1.0, 4.0), (2.0, 2.0)), ((1.0, 0.2), (2.0, 0.4))),
        Curve(1, ((1.0, 2.0), (2.0, math.nan)), ((1.0, 0.4), (2.0, 0.6), (3.0, 0.7))),
    )
    outcome = replace(study(), variants=(base, replace(other, curves=curves)))
    chart = _one(outcome, "learning-1")
    dashed, *runs, middle = _lines(chart)
    assert dashed.get_color() == LIGHT["ink"]
    assert [list(line.get_ydata()) for line in runs] == [
        pytest.approx([20, 40]),
        pytest.approx([40, 60, 70]),
    ]
    assert list(middle.get_xdata()) == [1.0, 2.0]  # as far as both go
    assert list(middle.get_ydata()) == pytest.approx([30, 50])
    *_, loss = _lines(chart, 1)
    assert list(loss.get_ydata()) == pytest.approx([3.0])
    assert "2 runs; mean AP at its end 50.0 percent" in chart.summary


def test_ap_has_one_scale_in_all_charts(drawn: dict[str, Chart]) -> None:
    limits = {drawn[f"learning-{at}"].figure.axes[0].get_ylim() for at in range(5)}
    assert len(limits) == 1


def test_mean_and_thinned_by_hand() -> None:
    first = (np.array([0.0, 2.0]), np.array([0.0, 2.0]))
    second = (np.array([1.0, 3.0]), np.array([3.0, 3.0]))
    middle = mean([first, second])
    assert middle is not None
    assert middle[0].tolist() == [1.0, 2.0]
    assert middle[1].tolist() == [2.0, 2.5]
    assert mean([]) is None
    assert mean([first, (np.array([5.0]), np.array([1.0]))]) is None
    assert thinned([(1.0, math.nan)]) is None
    many = thinned([(float(at), 1.0) for at in range(100_000)])
    assert many is not None
    assert many[0].shape == (MAX_POINTS,)
    assert many[0].mean() == pytest.approx(99_999 / 2)
    some = thinned([(2.0, 5.0), (1.0, 4.0)])
    assert some is not None
    assert [part.tolist() for part in some] == [[1.0, 2.0], [4.0, 5.0]]


def test_a_run_that_recorded_only_one_thing_says_so() -> None:
    base, other, *_ = study().variants
    one = replace(other, curves=(Curve(0, ((1.0, 0.0), (2.0, -1.0)), ()),))
    chart = _one(replace(study(), variants=(base, one)), "learning-1")
    assert "not recorded" in to_svg(chart)
    assert chart.figure.axes[1].get_yscale() == "linear"


@pytest.mark.parametrize("make", [study, unfinished, single_seed, large, hostile])
def test_ids_are_unique_and_colours_follow_the_theme(make: Any) -> None:
    drawn = "".join(to_svg(chart) for chart in _drawn(make).values())
    ids = re.findall(r' id="([^"]+)"', drawn)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", drawn)) <= set(ids)
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()
    assert "<script" not in drawn
    assert "$" not in drawn
    assert "nan" not in drawn.lower()
