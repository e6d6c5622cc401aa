"""The charts of a report, drawn once for the page and for TensorBoard."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cpn.errors import one_line
from cpn.report.data import (
    Calibration,
    Curve,
    CurveGroup,
    ErrorBreakdown,
    Figure,
    KeypointRow,
    KeypointType,
    Kind,
    ReportData,
    Slice,
)
from cpn.report.drawing import (
    ROW_INCHES,
    Chart,
    name_rows,
    new_axes,
    new_figure,
    shortened,
    style,
)
from cpn.report.palette import LIGHT, ROW

# More points than that cannot be seen, and a curve may have one for each detection.
MAX_POINTS = 201


def charts(data: ReportData) -> list[Chart]:
    """All charts that there are figures for, in the order of the page."""
    with style():
        return [
            *(curve_chart(group, index) for index, group in enumerate(data.curves)),
            *_keypoint_charts(data.keypoints, "keypoints", "keypoint"),
            *_keypoint_charts(data.parts, "parts", "body part"),
            *([] if data.errors is None else _error_charts(data.errors)),
            *(
                slice_chart(group, list(members), index)
                for index, (group, members) in enumerate(groupby(data.slices, lambda x: x.group))
            ),
            *(calibration_chart(one, index) for index, one in enumerate(data.calibration)),
        ]


def curve_chart(group: CurveGroup, index: int) -> Chart:
    """Precision against recall, the first curve darkest, each with its name."""
    figure, axes = new_axes(3.5)
    tips: dict[str, str] = {}
    count = len(group.curves)
    for place, curve in enumerate(group.curves):
        color = ROW[round(place * (len(ROW) - 1) / max(count - 1, 1))]
        name, gid = one_line(curve.name), f"curve{place}"
        recall, precision = _thinned(curve)
        axes.plot(recall, precision, color=color, linewidth=1.6, label=shortened(name), gid=gid)
        tips[gid] = name if curve.ap is None else f"{name}: AP {figure_text(Figure(curve.ap))}"
    _unit_square(axes, "recall", "precision")
    if count:
        axes.legend(loc="best", ncols=2 if count > 5 else 1, handlelength=1.2)
    names = "; ".join(tips.values())
    summary = f"Precision-recall curves, {group.title}. {names}."
    return Chart(f"curves-{index}", f"Precision-recall: {group.title}", summary, figure, tips)


def _thinned(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    count = len(curve.recall)
    kept = np.unique(np.linspace(0, count - 1, min(count, MAX_POINTS)).round().astype(int))
    return np.asarray(curve.recall)[kept], np.asarray(curve.precision)[kept]


def _keypoint_charts(rows: Sequence[KeypointRow], key: str, what: str) -> Iterator[Chart]:
    figures = [next(iter(row.ap.values()), Figure(math.nan)) for row in rows]
    if any(math.isfinite(each.value) for each in figures):
        names = [row.name for row in rows]
        yield _bars(f"{key}-ap", f"AP per {what}", names, figures, ["accent"] * len(rows))
    if any(sum(row.counts.values()) for row in rows):
        yield _type_chart(rows, key, what)


def _type_chart(rows: Sequence[KeypointRow], key: str, what: str) -> Chart:
    """Shares of errors, stacked; what is good is left out, or nothing else could be seen."""
    figure, axes = new_axes(1.0 + ROW_INCHES * len(rows))
    totals = np.array([max(sum(row.counts.values()), 1) for row in rows])
    start = np.zeros(len(rows))
    tips: dict[str, str] = {}
    for kind in [each for each in KeypointType if each is not KeypointType.GOOD]:
        counts = np.array([row.counts.get(kind, 0) for row in rows])
        bars = axes.barh(
            range(len(rows)), counts / totals, left=start, color=LIGHT[kind], label=kind, height=0.7
        )
        start += counts / totals
        for place, bar in enumerate(bars):
            bar.set_gid(f"{kind}{place}")
            share = counts[place] / totals[place]
            tips[f"{kind}{place}"] = f"{rows[place].name}: {counts[place]} {kind} ({share:.1%})"
    name_rows(axes, [row.name.replace("_", " ") for row in rows])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("share of labelled keypoints of people found")
    figure.legend(loc="outside upper center", ncols=4, handlelength=1.0, columnspacing=1.2)
    worst = rows[int(start.argmax())].name
    summary = f"Share of jitter, inversion, swap and miss per {what}; most errors: {worst}."
    return Chart(f"{key}-types", f"Errors per {what}", summary, figure, tips)


def _error_charts(errors: ErrorBreakdown) -> Iterator[Chart]:
    types = [each for each in errors.types if each.ap_if_fixed is not None]
    gains = [Figure(float(each.ap_if_fixed or 0.0) - errors.base_ap) for each in types]
    if types:
        names, colors = [x.name for x in types], [_color(x.name) for x in types]
        title = "AP gained if fixed"
        yield _bars("errors-gain", title, names, gains, colors, signed=True, limit=None)
    if errors.types:
        names = [each.name for each in errors.types]
        counts = [Figure(int(each.count)) for each in errors.types]
        colors = [_color(name) for name in names]
        yield _bars("errors-count", "How many", names, counts, colors, limit=None)


def slice_chart(group: str, members: Sequence[Slice], index: int) -> Chart:
    """AP with interval of each slice of one group."""
    names = [f"{shortened(one.name, 14)}, n={one.num_people:,}" for one in members]
    figures = [one.ap for one in members]
    return _bars(f"slices-{index}", f"AP by {group}", names, figures, ["accent"] * len(members))


def calibration_chart(calibration: Calibration, index: int) -> Chart:
    """Mean OKS against score, the diagonal, and below it how many detections there are."""
    figure = new_figure(3.8)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    bins = [each for each in calibration.bins if each.count]
    low = min([0.0, *(each.score_low for each in bins)])
    high = max([1.0, *(each.score_high for each in bins)])
    axes.plot([0, 1], [0, 1], color=LIGHT["muted"], linewidth=1.0, linestyle="--")
    scores, means = [x.mean_score for x in bins], [x.mean_oks for x in bins]
    axes.plot(scores, means, color=LIGHT["accent"], linewidth=1.6)
    tips: dict[str, str] = {}
    for place, one in enumerate(bins):
        tip = f"score {one.score_low:.2f}-{one.score_high:.2f}: mean score {one.mean_score:.3f}, "
        tip += f"mean OKS {one.mean_oks:.3f}, {one.count:,} detections"
        axes.plot(
            one.mean_score,
            one.mean_oks,
            "o",
            color=LIGHT["accent"],
            markersize=4.5,
            gid=f"p{place}",
        )
        width = one.score_high - one.score_low
        bar = below.bar(
            one.score_low, one.count, width=0.9 * width, align="edge", color=LIGHT["score"]
        )
        bar[0].set_gid(f"b{place}")
        tips |= {f"p{place}": tip, f"b{place}": tip}
    _unit_square(axes, "", "mean OKS")
    below.set(xlim=(low, high), xlabel="score", ylabel="count")  # of both, as they share it
    below.yaxis.set_major_locator(MaxNLocator(2, integer=True))
    title = f"Reliability: scores {calibration.name}"
    summary = f"{title}. Expected calibration error {calibration.ece:.3f}."
    return Chart(f"calibration-{index}", title, summary, figure, tips)


def _bars(
    key: str,
    title: str,
    names: Sequence[str],
    figures: Sequence[Figure],
    colors: Sequence[str],
    *,
    signed: bool = False,
    limit: float | None = 1.0,
) -> Chart:
    """Horizontal bars with their numbers; intervals as whiskers, where there are any."""
    figure, axes = new_axes(0.65 + ROW_INCHES * len(names))
    values = np.nan_to_num([each.value for each in figures])
    ends = [max(v, *(one.interval or [v])) for v, one in zip(values, figures, strict=True)]
    top = max([*ends, 1e-9]) if limit is None else limit
    tips: dict[str, str] = {}
    for place, (name, one) in enumerate(zip(names, figures, strict=True)):
        bar = axes.barh(place, values[place], color=LIGHT[colors[place]], height=0.66)
        bar[0].set_gid(f"bar{place}")
        if one.interval:
            axes.plot(one.interval, [place, place], color=LIGHT["ink"], linewidth=1.2)
        text = figure_text(one, signed=signed)
        axes.text(max(ends[place], 0.0) + 0.015 * top, place, text, va="center", fontsize=8)
        tips[f"bar{place}"] = f"{name}: {figure_text(one, signed=signed, interval=True)}"
    name_rows(axes, [name.replace("_", " ") for name in names])
    axes.set_xlim(min(0.0, *values, 0.0), 1.22 * top)
    if limit is not None:
        axes.set_xticks(np.linspace(0, limit, 6))
    summary = f"{title}. {'; '.join(tips.values())}."
    return Chart(key, title, summary, figure, tips)


def figure_text(figure: Figure, *, signed: bool = False, interval: bool = False) -> str:
    """'0.712', '+0.031', '1,204', '-' for NaN; with `interval` '0.712 (0.698 to 0.725)'."""
    value = figure.value
    if not math.isfinite(value):
        return "\N{EN DASH}"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    text = f"{value:+.3f}" if signed else f"{value:.3f}"
    if interval and figure.interval:
        text += " ({:.3f} to {:.3f})".format(*figure.interval)
    return text


def _unit_square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel=xlabel, ylabel=ylabel)


def _color(name: str) -> str:
    """A type's own colour, also of "background false positive"; an unknown one's is grey."""
    words = name.lower().replace(" ", "_")
    return next((kind for kind in (*KeypointType, *Kind) if kind in words), "score")
