"""The charts of a study: differences to the baseline, AP against cost, keypoints, and learning."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cpn.ablation.cells import p_text, percent, published_gap, verdict
from cpn.ablation.keypoint_chart import keypoint_chart
from cpn.ablation.learning_chart import learning_charts
from cpn.ablation.outcome import Estimate, StudyOutcome, VariantOutcome
from cpn.errors import one_line
from cpn.report.drawing import ROW_INCHES, Chart, name_rows, new_axes, shortened, style
from cpn.report.palette import LIGHT

# By verdict: blue and orange are told apart by nearly all eyes.
_COLORS = {"better": "accent", "worse": "jitter", "": "score", "baseline": "ink"}
_MEANINGS = {"better": "better", "worse": "worse", "": "not significant", "baseline": "baseline"}
_PAPER = "paper"
_LABEL_POINTS = 11.5


class _Mark(NamedTuple):
    """A point of the chart of costs; AP in percent."""

    name: str
    gflops: float
    ap: Estimate
    kind: str


def charts(outcome: StudyOutcome) -> list[Chart]:
    """All charts that there are figures for, in the order of the page."""
    with style():
        return [
            *difference_chart(outcome),
            *cost_charts(outcome),
            *keypoint_chart(outcome),
            *learning_charts(outcome),
        ]


def difference_chart(outcome: StudyOutcome) -> Iterator[Chart]:
    """A row per variant: ours with interval, the paper's as a hollow mark; percentage points.

    Only differences are side by side: the levels of AP are of other data.
    """
    rows = [
        each
        for each in outcome.variants
        if (each.gap is not None and math.isfinite(each.gap.value))
        or published_gap(outcome, each) is not None
    ]
    if not rows:
        return
    figure, axes = new_axes(0.95 + 1.25 * ROW_INCHES * len(rows))
    axes.axvline(0, color=LIGHT["ink"], linewidth=1.0)
    tips: dict[str, str] = {}
    labels: dict[str, str] = {}
    for place, each in enumerate(rows):
        paper = published_gap(outcome, each)
        shift = 0.0 if paper is None or each.gap is None else 0.16
        if each.gap is not None:
            tips |= _own_difference(axes, place - shift, each, labels)
        if paper is not None:
            gid, label = f"paper{place}", _once(labels, _PAPER)
            look: dict[str, Any] = {
                "color": LIGHT["ink"],
                "markerfacecolor": LIGHT["paper"],
                "markersize": 5.0,
            }
            axes.plot(paper, place + shift, "D", gid=gid, label=label, zorder=3, **look)
            tips[gid] = f"{each.name}, paper: {paper:+.1f}"
    name_rows(axes, [each.name for each in rows])
    axes.margins(x=0.08)
    axes.set_xlabel("percentage points of AP")
    _legend(figure, axes)
    title = f"Difference to {shortened(one_line(outcome.baseline))}"
    yield Chart("difference-0", title, f"{title}. {'; '.join(tips.values())}.", figure, tips)


def _own_difference(
    axes: Axes, y: float, variant: VariantOutcome, labels: dict[str, str]
) -> dict[str, str]:
    """Draws one and gives its tip by gid."""
    gap = variant.gap
    assert gap is not None, "asked of variants that have one"
    kind = verdict(gap)
    gid = f"own-{y:g}".replace(".", "_")
    color = LIGHT[_COLORS[kind]]
    ends = np.array([gap.low, gap.high]) * 100
    if np.isfinite(ends).all():
        axes.plot(ends, [y, y], color=color, linewidth=2.0, solid_capstyle="butt")
    label = _once(labels, _MEANINGS[kind])
    axes.plot(100 * gap.value, y, "o", color=color, markersize=6.0, gid=gid, label=label)
    tip = f"{variant.name}: {percent(gap.value, signed=True)}"
    if np.isfinite(ends).all():
        tip += f" ({ends[0]:+.1f} to {ends[1]:+.1f})"
    return {gid: f"{tip}, p (Holm) {p_text(gap.adjusted)}"}


def _legend(figure: Figure, axes: Axes) -> None:
    """Above, in the same order in all studies."""
    known = [*_MEANINGS.values(), _PAPER]
    pairs = sorted(
        zip(*axes.get_legend_handles_labels(), strict=True), key=lambda x: known.index(x[1])
    )
    marks, labels = zip(*pairs, strict=True)
    look: dict[str, Any] = {"ncols": 4, "handlelength": 1.0, "columnspacing": 1.2}
    figure.legend(marks, labels, loc="outside upper center", **look)


def _once(labels: dict[str, str], name: str) -> str:
    """A name for the legend the first time, then what keeps out of it."""
    label = "_nolegend_" if name in labels else name
    labels[name] = name
    return label


def cost_charts(outcome: StudyOutcome) -> Iterator[Chart]:
    """AP against GFLOPs: ours with error bars and, beside it, the paper's with hollow marks."""
    own = [
        _Mark(each.name, each.cost.gflops, _in_percent(each.metrics["AP"]), _kind(outcome, each))
        for each in outcome.variants
        if each.cost is not None and "AP" in each.metrics
    ]
    paper = [
        _Mark(each.name, each.published_gflops, Estimate(each.published_ap, *[math.nan] * 2), "")
        for each in outcome.variants
        if each.published_ap is not None and each.published_gflops is not None
    ]
    own = [mark for mark in own if math.isfinite(mark.ap.value + mark.gflops)]
    if own:
        yield _cost_chart("cost-own", "AP against GFLOPs, measured here", own)
    if len(paper) > 1:
        yield _cost_chart("cost-paper", "AP against GFLOPs, as published", paper, hollow=True)


def _kind(outcome: StudyOutcome, variant: VariantOutcome) -> str:
    if variant.name == outcome.baseline:
        return "baseline"
    return "" if variant.gap is None else verdict(variant.gap)


def _in_percent(estimate: Estimate) -> Estimate:
    return Estimate(*(100 * value for value in estimate))


def _cost_chart(key: str, title: str, marks: Sequence[_Mark], *, hollow: bool = False) -> Chart:
    height = max(3.0, 1.0 + _LABEL_POINTS / 72 * len(marks))
    figure, axes = new_axes(height)
    tips: dict[str, str] = {}
    for place, mark in enumerate(marks):
        color = LIGHT["ink" if hollow else _COLORS[mark.kind]]
        ends = np.array(mark.ap[1:])
        tip = f"{mark.name}: {mark.gflops:.4g} GFLOPs, AP {mark.ap.value:.1f}"
        if np.isfinite(ends).all():
            axes.plot([mark.gflops] * 2, ends, color=color, linewidth=1.4, zorder=3)
            tip += f" ({ends[0]:.1f} to {ends[1]:.1f})"
        gid, form = f"mark{place}", "s" if mark.kind == "baseline" else "D" if hollow else "o"
        face = LIGHT["paper"] if hollow else color
        look: dict[str, Any] = {"color": color, "markerfacecolor": face, "markersize": 5.5}
        axes.plot(mark.gflops, mark.ap.value, form, gid=gid, zorder=4, **look)
        tips[gid] = tip
    axes.margins(x=0.1, y=0.08)
    axes.set(xlabel="GFLOPs", ylabel="AP in percent")
    _label(axes, marks, gap=_LABEL_POINTS / (72 * (height - 0.6)))
    return Chart(key, title, f"{title}. {'; '.join(tips.values())}.", figure, tips)


def _label(axes: Axes, marks: Sequence[_Mark], *, gap: float) -> None:
    """Names in a column to the right, each led to its point: they never lie on one another."""
    ordered = sorted(marks, key=lambda mark: mark.ap.value)
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    wanted = np.array([(mark.ap.value - low) / (high - low) for mark in ordered])
    for mark, place in zip(ordered, spread(wanted, gap), strict=True):
        x, y = left + 1.04 * (right - left), low + place * (high - low)
        line: dict[str, Any] = {
            "color": LIGHT["score"],
            "linewidth": 0.5,
            "clip_on": False,
            "zorder": 2,
        }
        axes.plot([mark.gflops, x], [mark.ap.value, y], **line)
        axes.text(x, y, f" {shortened(one_line(mark.name))}", va="center", fontsize=8.0)
    axes.set(xlim=(left, right), ylim=(low, high))


def spread(wanted: NDArray[np.float64], gap: float) -> NDArray[np.float64]:
    """Places at least `gap` apart and nearest to the wanted ones in squares, within 0..1.

    Args:
        wanted: (N,) rising.
        gap: of neighbours; made smaller where N of them do not fit.

    Returns:
        (N,) rising. Without their gaps they are an isotonic regression, by pooling adjacent
        violators (Barlow et al., 1972).
    """
    count = len(wanted)
    gap = min(gap, 1.0 / max(count - 1, 1))
    steps = gap * np.arange(count)
    pools: list[tuple[float, int]] = []
    for value in wanted - steps:
        mean, size = float(value), 1
        while pools and pools[-1][0] > mean:
            other, others = pools.pop()
            mean, size = (mean * size + other * others) / (size + others), size + others
        pools.append((mean, size))
    free = np.repeat([mean for mean, _ in pools], [size for _, size in pools])
    return np.asarray(np.clip(free, 0.0, 1.0 - gap * max(count - 1, 0)) + steps)
