"""How much each variant gains or loses at each keypoint, as a heat map."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from cpn.ablation.cells import p_text, percent, with_signs
from cpn.ablation.conclusions import ALPHA
from cpn.ablation.outcome import Gap, StudyOutcome, VariantOutcome
from cpn.errors import one_line
from cpn.report.drawing import ROW_INCHES, Chart, name_rows, new_figure, shortened
from cpn.report.palette import LIGHT

# Paper shows through even the strongest colour, so that text on it is read in both themes.
STRONGEST = 0.5
BETTER, WORSE = "accent", "jitter"
# More columns are too narrow for numbers.
_MAX_NUMBERED = 7
_KEY = (-1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0)


def keypoint_chart(outcome: StudyOutcome) -> Iterator[Chart]:
    """A row per keypoint and a column per variant; blue is better, orange worse than the baseline.

    Colours are centred on 0 and grow with the root of the difference, so that one bad variant does
    not make all others pale. Cells with p < 0.05 are framed; these p-values are of one keypoint
    and one variant each, not adjusted for their number.
    """
    variants = [each for each in outcome.variants if each.keypoints]
    names = list(dict.fromkeys(name for each in variants for name in each.keypoints))
    gaps = [gap.value for each in variants for gap in each.keypoints.values()]
    most = max((abs(value) for value in gaps if math.isfinite(value)), default=0.0)
    if not most:
        return
    longest = max(len(shortened(one_line(each.name))) for each in variants)
    is_turned = longest * len(variants) > 36
    head = 0.07 * longest if is_turned else 0.2
    figure = new_figure(0.8 + head + 0.85 * ROW_INCHES * len(names))
    axes, below = figure.subplots(2, 1, height_ratios=(len(names), 1.0))
    tips = _draw(axes, variants, names, most)
    name_rows(axes, [name.replace("_", " ") for name in names])
    axes.set_xticks(
        range(len(variants)),
        [shortened(one_line(each.name)) for each in variants],
        rotation=90 if is_turned else 0,
    )
    axes.xaxis.tick_top()
    _bare(axes, len(variants))
    _draw_key(below, most)
    title = f"AP of each keypoint, difference to {shortened(one_line(outcome.baseline))}"
    summary = f"{title}, in percentage points. {'; '.join(tips.values())}."
    yield Chart("keypoints-0", title, summary, figure, tips)


def _draw(
    axes: Axes, variants: Sequence[VariantOutcome], names: Sequence[str], most: float
) -> dict[str, str]:
    tips: dict[str, str] = {}
    for column, variant in enumerate(variants):
        for row, name in enumerate(names):
            gap = variant.keypoints.get(name)
            if gap is None or not math.isfinite(gap.value):
                axes.text(column, row, "\N{EN DASH}", **_centred(LIGHT["muted"]))
                continue
            gid = f"cell{row}_{column}"
            _cell(axes, column, row, gap.value / most, gid=gid, is_framed=_is_framed(gap))
            if len(variants) <= _MAX_NUMBERED:
                axes.text(
                    column,
                    row,
                    with_signs(percent(gap.value, signed=True)),
                    **_centred(LIGHT["ink"]),
                )
            tips[gid] = _tip(variant.name, name, gap)
    return tips


def _is_framed(gap: Gap) -> bool:
    return gap.p_value < ALPHA


def _tip(variant: str, keypoint: str, gap: Gap) -> str:
    place = f"{variant}, {keypoint.replace('_', ' ')}"
    text = f"{place}: {percent(gap.value, signed=True)}"
    if math.isfinite(gap.low) and math.isfinite(gap.high):
        text += f" ({percent(gap.low, signed=True)} to {percent(gap.high, signed=True)})"
    return f"{text}, p {p_text(gap.p_value)}"


def _cell(
    axes: Axes, column: float, row: float, share: float, *, gid: str, is_framed: bool
) -> None:
    color = to_rgba(LIGHT[BETTER if share > 0 else WORSE], opacity(share))
    look: dict[str, Any] = {"edgecolor": LIGHT["ink"], "linewidth": 1.2, "zorder": 3}
    style: dict[str, Any] = look if is_framed else {"edgecolor": "none", "zorder": 2}
    axes.add_patch(
        Rectangle((column - 0.46, row - 0.44), 0.92, 0.88, facecolor=color, gid=gid, **style)
    )


def opacity(share: float) -> float:
    """Of a cell's colour, 0..`STRONGEST`, by its difference's share of the largest, -1..1."""
    return STRONGEST * math.sqrt(abs(share))


def _draw_key(axes: Axes, most: float) -> None:
    """Which colour means how much."""
    for place, share in enumerate(_KEY):
        _cell(axes, place, 0, share, gid=f"key{place}", is_framed=False)
        axes.text(
            place, 0, with_signs(percent(share * most, signed=True)), **_centred(LIGHT["ink"])
        )
    axes.set(xticks=[], yticks=[], ylim=(0.5, -0.5), xlabel=f"framed: p < {ALPHA}")
    _bare(axes, len(_KEY))


def _bare(axes: Axes, columns: int) -> None:
    axes.set_xlim(-0.5, columns - 0.5)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(axis="x", length=0, labelcolor=LIGHT["ink"])


def _centred(color: str) -> dict[str, Any]:
    return {"ha": "center", "va": "center", "fontsize": 8.0, "color": color, "zorder": 4}
