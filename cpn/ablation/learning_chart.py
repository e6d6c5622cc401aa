"""How the runs of each variant went: AP and loss over epochs."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from cpn.ablation.outcome import StudyOutcome, VariantOutcome
from cpn.errors import one_line
from cpn.report.drawing import Chart, new_figure
from cpn.report.palette import LIGHT

# More cannot be seen in a panel, and a loss may have one for each step.
MAX_POINTS = 80

FloatArray = NDArray[np.float64]
Line = tuple[FloatArray, FloatArray]


def learning_charts(outcome: StudyOutcome) -> Iterator[Chart]:
    """A chart per variant that has runs: AP to the left, with the baseline's, and loss.

    APs have one scale in all charts; losses have not, as variants may differ in what they are.
    """
    drawn = [(each, _aps(each), _losses(each)) for each in outcome.variants]
    values = [y for _, aps, _ in drawn for line in aps for y in line[1]]
    limits = (min(0.0, *values), max(values) * 1.06 or 1.0) if values else None
    baseline = next((mean(aps) for one, aps, _ in drawn if one.name == outcome.baseline), None)
    for place, (each, aps, losses) in enumerate(drawn):
        if not aps and not losses:
            continue
        figure = new_figure(1.85)
        left, right = figure.subplots(1, 2)
        if baseline is not None and each.name != outcome.baseline:
            look: dict[str, Any] = {
                "color": LIGHT["ink"],
                "linewidth": 1.0,
                "linestyle": (0, (2, 2)),
            }
            left.plot(*baseline, **look)
        _lines(left, aps, "accent")
        _lines(right, losses, "false_positive")
        left.set(ylim=limits)
        _scale(right, losses)
        for axes, title in ((left, "AP in percent"), (right, "training loss")):
            axes.set_title(title, loc="left", color=LIGHT["muted"])
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        yield Chart(f"learning-{place}", one_line(each.name), _summary(each, aps), figure)


def mean(lines: Sequence[Line]) -> Line | None:
    """The mean where all lines are, between their points linearly; None where there is no such x.

    Args:
        lines: x, rising, and y of each.
    """
    if not lines:
        return None
    start, end = max(x[0] for x, _ in lines), min(x[-1] for x, _ in lines)
    places = np.unique(np.concatenate([x for x, _ in lines]))
    places = places[(places >= start) & (places <= end)]
    if not len(places):
        return None
    return places, np.mean([np.interp(places, x, y) for x, y in lines], axis=0)


def thinned(points: Sequence[tuple[float, float]]) -> Line | None:
    """The finite points by rising x; means of neighbours where they are too many to be seen."""
    kept = sorted(point for point in points if math.isfinite(point[0] + point[1]))
    if not kept:
        return None
    parts = np.array_split(np.array(kept), min(len(kept), MAX_POINTS))
    x, y = np.array([part.mean(axis=0) for part in parts]).T
    return x, y


def _aps(variant: VariantOutcome) -> list[Line]:
    lines = [thinned(curve.ap) for curve in variant.curves]
    return [(x, 100 * y) for x, y in filter(None, lines)]


def _losses(variant: VariantOutcome) -> list[Line]:
    return list(filter(None, (thinned(curve.loss) for curve in variant.curves)))


def _lines(axes: Axes, lines: Sequence[Line], color: str) -> None:
    """A thin line per run and a thick one of their mean; a single point is a dot."""
    middle = mean(lines)
    if len(lines) > 1:
        for x, y in lines:
            axes.plot(x, y, color=LIGHT[color], linewidth=0.7, alpha=0.45)
    if middle is not None:
        marker = "o" if len(middle[0]) == 1 else ""
        axes.plot(*middle, color=LIGHT[color], linewidth=1.8, marker=marker, markersize=4.0)
    if not lines:
        where: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "transform": axes.transAxes,
            "fontsize": 8.0,
        }
        axes.text(0.5, 0.5, "not recorded", color=LIGHT["muted"], **where)


def _scale(axes: Axes, losses: Sequence[Line]) -> None:
    """Losses fall by factors: their axis is logarithmic, where all are positive."""
    values = [value for _, y in losses for value in y]
    if not values or min(values) <= 0:
        return
    axes.set_yscale("log")
    is_wide = max(values) > 8 * min(values)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)) if is_wide else MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()


def _summary(variant: VariantOutcome, aps: Sequence[Line]) -> str:
    runs = f"{len(variant.curves)} run{'' if len(variant.curves) == 1 else 's'}"
    middle = mean(aps)
    last = "" if middle is None else f"; mean AP at its end {middle[1][-1]:.1f} percent"
    return f"Learning curves of {variant.name}, {runs}{last}."
