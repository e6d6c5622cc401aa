"""The table of a study, figure by figure, as it is shown in Markdown and on the page.

APs and their differences are in percent, as papers print them.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from cpn.ablation.conclusions import ALPHA
from cpn.ablation.outcome import Cost, Estimate, Gap, StudyOutcome, VariantOutcome
from cpn.errors import one_line

UNKNOWN = "-"
_NAN = math.nan
NO_ESTIMATE = Estimate(_NAN, _NAN, _NAN)
NO_GAP = Gap(_NAN, _NAN, _NAN, _NAN, _NAN)


class Cell(NamedTuple):
    """One figure, written.

    Attributes:
        text: `UNKNOWN` where nothing is known.
        interval: "40.1 to 44.5"; empty without one.
        order: what rows are sorted by; None: after all others.
        verdict: "better" or "worse" of a significant difference, else empty.
    """

    text: str = UNKNOWN
    interval: str = ""
    order: float | str | None = None
    verdict: str = ""


class Column(NamedTuple):
    """A title, what it means, and what the cells hold."""

    title: str
    meaning: str
    kind: Literal["number", "text", "notes"] = "number"


class Table(NamedTuple):
    """Rows of as many cells as there are columns; the first one names the row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Note(NamedTuple):
    """What was cut or failed; numbered from 1 on through the study."""

    number: int
    variant: str
    text: str


_CellOf = Callable[[VariantOutcome], Cell]
_Columns = Iterator[tuple[Column, _CellOf]]
_BASELINE = Cell("baseline", order=0.0)


def tables(outcome: StudyOutcome) -> tuple[Table, Table, Table]:
    """What was found, the other COCO numbers, and what each variant costs."""
    found = _table(outcome, "Results", _result_columns(outcome))
    others = _table(outcome, "Other COCO numbers", _metric_columns(outcome))
    return found, others, _table(outcome, "Costs", _cost_columns(outcome))


def notes(outcome: StudyOutcome) -> list[Note]:
    """All notes, variant by variant."""
    told = [(variant.name, text) for variant in outcome.variants for text in variant.notes]
    return [Note(number, name, text) for number, (name, text) in enumerate(told, start=1)]


def published_gap(outcome: StudyOutcome, variant: VariantOutcome) -> float | None:
    """The paper's difference to the paper's baseline, in percent; None where it has none."""
    base = next((x.published_ap for x in outcome.variants if x.name == outcome.baseline), None)
    if variant.name == outcome.baseline or base is None or variant.published_ap is None:
        return None
    return variant.published_ap - base


def verdict(gap: Gap) -> str:
    """'better', 'worse', or '' where the Holm-adjusted p-value leaves it open."""
    if not gap.adjusted < ALPHA or not math.isfinite(gap.value):
        return ""
    return "better" if gap.value > 0 else "worse"


def percent(share: float, *, signed: bool = False) -> str:
    """0.4231 as '42.3', or '+42.3' with `signed`; `UNKNOWN` for NaN."""
    if not math.isfinite(share):
        return UNKNOWN
    text = f"{100 * share:{'+' if signed else ''}.1f}"
    return "0.0" if text in {"-0.0", "+0.0"} else text


def with_signs(text: str) -> str:
    """A figure with the signs that print has: a true minus, and a dash where nothing is known."""
    return "\N{EN DASH}" if text == UNKNOWN else text.replace("-", "\N{MINUS SIGN}")


def p_text(p_value: float) -> str:
    """'0.012', '<0.001', or `UNKNOWN` for NaN."""
    if not math.isfinite(p_value):
        return UNKNOWN
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def confidence_text(outcome: StudyOutcome) -> str:
    """'95 %'."""
    return f"{100 * outcome.confidence:g} %"


def progress(outcome: StudyOutcome) -> str:
    """'5 of 8 variants have a finished run, 12 runs in all'."""
    done = [len(variant.seeds) for variant in outcome.variants]
    runs = f"{sum(done)} run{'' if sum(done) == 1 else 's'} in all"
    return f"{sum(map(bool, done))} of {len(done)} variants have a finished run, {runs}"


def keypoint_table(outcome: StudyOutcome) -> Table:
    """A row per keypoint and a column per variant that has figures of them."""
    variants = [each for each in outcome.variants if each.keypoints]
    names = dict.fromkeys(name for each in variants for name in each.keypoints)
    head = Column("keypoint", "of the skeleton", "text")
    columns = (head, *(Column(one_line(each.name), "difference") for each in variants))
    rows = [
        (_name(name.replace("_", " ")), *(_keypoint(each.keypoints.get(name)) for each in variants))
        for name in names
    ]
    return Table("Differences per keypoint", columns, tuple(rows))


def _table(outcome: StudyOutcome, title: str, made: _Columns) -> Table:
    columns, cells = zip(*made, strict=True)
    rows = tuple(tuple(cell(each) for cell in cells) for each in outcome.variants)
    return Table(title, columns, rows)


def _result_columns(outcome: StudyOutcome) -> _Columns:
    ap = outcome.wording.ap
    yield _names(outcome)
    yield Column("seeds", "whose runs are done"), _seeds
    yield (
        Column("AP", f"{ap} in percent, mean over seeds, with its interval"),
        _metric("AP"),
    )
    yield (
        Column("difference", f"of AP to {outcome.baseline}, in percentage points"),
        lambda x: _BASELINE if x.name == outcome.baseline else _gap(x.gap),
    )
    yield Column("p", "of the difference by itself"), lambda x: _p((x.gap or NO_GAP).p_value)
    yield (
        Column("p (Holm)", "raised for the number of variants compared"),
        lambda x: _p((x.gap or NO_GAP).adjusted),
    )
    if any(x.published_ap is not None for x in outcome.variants):
        yield Column("paper's AP", "in percent, of other data"), _known(lambda x: x.published_ap)
        yield (
            Column("paper's difference", f"to its own {outcome.baseline}, in percentage points"),
            lambda x: _published_gap(outcome, x),
        )
    numbers = notes(outcome)
    if numbers:
        yield Column("notes", "what was cut or failed", "notes"), _note_numbers(numbers)


def _metric_columns(outcome: StudyOutcome) -> _Columns:
    yield _names(outcome)
    for name in metric_names(outcome)[1:]:
        yield Column(name, "in percent"), _metric(name)


def _cost_columns(outcome: StudyOutcome) -> _Columns:
    yield _names(outcome)
    yield Column("parameters (M)", "millions of weights"), _cost(lambda x: x.parameters / 1e6)
    yield (
        Column("GFLOPs", f"billions of multiply-adds for {outcome.wording.sample}"),
        _cost(lambda x: x.gflops, ".3f"),
    )
    if any(x.published_gflops is not None for x in outcome.variants):
        yield Column("paper's GFLOPs", "as published"), _known(lambda x: x.published_gflops, ".2f")
    yield Column("images/s", "in training"), _cost(lambda x: x.training_rate, ",.1f")
    yield Column("latency ms", outcome.wording.latency), _cost(lambda x: x.latency_ms)
    yield Column("peak MiB", "of a training process"), _cost(lambda x: x.memory_mib, ",.0f")
    yield Column("epochs", "of its runs"), _known(lambda x: x.epochs, ",")


def _names(outcome: StudyOutcome) -> tuple[Column, _CellOf]:
    column = Column("variant", f"the baseline is {outcome.baseline}", "text")
    return column, lambda x: _name(x.name)


def _name(name: str) -> Cell:
    return Cell(one_line(name), order=name)


def metric_names(outcome: StudyOutcome) -> list[str]:
    """All COCO numbers that some variant has, AP first."""
    return list(dict.fromkeys(["AP", *(name for x in outcome.variants for name in x.metrics)]))


def _seeds(variant: VariantOutcome) -> Cell:
    text = ", ".join(map(str, variant.seeds)) or "none"
    return Cell(text, order=float(len(variant.seeds)))


def _metric(name: str) -> _CellOf:
    def cell(variant: VariantOutcome) -> Cell:
        value, low, high = variant.metrics.get(name, NO_ESTIMATE)
        return Cell(percent(value), _interval(value, low, high), _order(value))

    return cell


def _gap(gap: Gap | None) -> Cell:
    gap = gap or NO_GAP
    interval = _interval(gap.value, gap.low, gap.high, signed=True)
    return Cell(percent(gap.value, signed=True), interval, _order(gap.value), verdict(gap))


def _keypoint(gap: Gap | None) -> Cell:
    """Judged by its own p-value, as it is drawn; there is none for all keypoints at once."""
    gap = gap or NO_GAP
    return _gap(gap._replace(adjusted=gap.p_value))


def _published_gap(outcome: StudyOutcome, variant: VariantOutcome) -> Cell:
    if variant.name == outcome.baseline:
        return Cell() if variant.published_ap is None else _BASELINE
    points = published_gap(outcome, variant)
    return Cell() if points is None else Cell(percent(points / 100, signed=True), order=points)


def _interval(value: float, low: float, high: float, *, signed: bool = False) -> str:
    if not all(map(math.isfinite, (value, low, high))):
        return ""
    return f"{percent(low, signed=signed)} to {percent(high, signed=signed)}"


def _p(p_value: float) -> Cell:
    return Cell(p_text(p_value), order=_order(p_value))


def _known(figure: Callable[[VariantOutcome], float | None], form: str = ".1f") -> _CellOf:
    """Of a figure that may be None or NaN."""

    def cell(variant: VariantOutcome) -> Cell:
        value = figure(variant)
        if value is None or not math.isfinite(value):
            return Cell()
        return Cell(format(value, form), order=value)

    return cell


def _cost(figure: Callable[[Cost], float], form: str = ",.2f") -> _CellOf:
    return _known(lambda x: None if x.cost is None else figure(x.cost), form)


def _order(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _note_numbers(numbers: list[Note]) -> _CellOf:
    def cell(variant: VariantOutcome) -> Cell:
        own = [note.number for note in numbers if note.variant == variant.name]
        return Cell(", ".join(map(str, own)), order=own[0] if own else None)

    return cell
