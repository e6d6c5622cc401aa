"""The table of a study as Markdown, for people, and as CSV with all digits."""

from collections.abc import Iterator

from cpn.ablation.cells import (
    NO_ESTIMATE,
    NO_GAP,
    UNKNOWN,
    Cell,
    Column,
    Table,
    confidence_text,
    metric_names,
    notes,
    progress,
    published_gap,
    tables,
)
from cpn.ablation.conclusions import ALPHA
from cpn.ablation.outcome import Cost, Estimate, Gap, StudyOutcome, VariantOutcome
from cpn.errors import one_line
from cpn.report.text_table import csv_table, exact, markdown_table

# What Markdown, or the HTML that may stand in it, would take for its own.
_MARKUP = str.maketrans({character: f"\\{character}" for character in "\\`*<"})


def markdown(outcome: StudyOutcome) -> str:
    """The study as Markdown: facts, results, other COCO numbers, costs, notes and conclusions.

    APs are in percent. Names and texts may come from anywhere: markup in them is escaped.
    """
    lines = [f"# {_text(outcome.title)}", ""]
    if not outcome.is_complete:
        lines += [f"**Incomplete: {progress(outcome)}. Figures will change.**", ""]
    lines += [f"- {_text(name)}: {_text(value)}" for name, value in outcome.facts.items()]
    lines += [""] if outcome.facts else []
    found, others, costs = tables(outcome)
    lines += [f"## {found.title}", "", _explanation(outcome), "", _markdown_table(found), ""]
    lines += [f"## {others.title}", "", "In percent; their intervals are in the CSV file.", ""]
    lines += [_markdown_table(others, with_intervals=False), ""]
    lines += [f"## {costs.title}", "", _markdown_table(costs), ""]
    if outcome.source is not None:
        lines += [f"The paper's figures are from {_text(outcome.source)}.", ""]
    told = [f"{note.number}. {_text(note.variant)}: {_text(note.text)}" for note in notes(outcome)]
    concluded = [f"- {_text(conclusion)}" for conclusion in outcome.conclusions]
    for title, part in (("Notes", told), ("Conclusions", concluded)):
        lines += [f"## {title}", "", *part, ""] if part else []
    return "\n".join(lines)


def _explanation(outcome: StudyOutcome) -> str:
    """What the figures of the first table are, in one paragraph."""
    return (
        f"{outcome.wording.ap} in percent, mean over seeds, with its {confidence_text(outcome)}"
        f" interval over seeds and images; difference to {_text(outcome.baseline)} in percentage"
        " points; p: how often equal variants would differ that much or more; p (Holm): raised for"
        f" the number of variants compared, bold where below {ALPHA}. {UNKNOWN}: unknown."
    )


def _markdown_table(table: Table, *, with_intervals: bool = True) -> str:
    rows = [
        [
            _written(cell if with_intervals else cell._replace(interval=""), column)
            for cell, column in zip(row, table.columns, strict=True)
        ]
        for row in table.rows
    ]
    right = {at for at, column in enumerate(table.columns) if column.kind == "number"}
    return markdown_table([column.title for column in table.columns], rows, right=right)


def _written(cell: Cell, column: Column) -> str:
    if column.kind != "number":
        return _text(cell.text)
    text = f"**{cell.text}**" if cell.verdict else cell.text
    return f"{text} ({cell.interval})" if cell.interval else text


def _text(text: str) -> str:
    return one_line(text).translate(_MARKUP)


def csv_text(outcome: StudyOutcome) -> str:
    """Every figure with all its digits, a row per variant; empty where it is unknown.

    APs and differences are 0..1, the paper's too, which are rounded as it prints them. Columns of
    keypoints come last, as `left_wrist difference`; p-values of them are not adjusted for their
    number.
    """
    records = [dict(_record(outcome, variant)) for variant in outcome.variants]
    head = list(records[0]) if records else []
    return csv_table([head, *([record[name] for name in head] for record in records)])


def _record(outcome: StudyOutcome, variant: VariantOutcome) -> Iterator[tuple[str, str]]:
    yield from {"variant": variant.name, "overrides": " ".join(variant.overrides)}.items()
    yield from {"seeds": " ".join(map(str, variant.seeds)), "epochs": str(variant.epochs)}.items()
    names = metric_names(outcome)
    yield from _ends("AP", variant.metrics.get("AP", NO_ESTIMATE))
    yield from _gap_record("difference", variant.gap)
    for name in names[1:]:
        yield from _ends(name, variant.metrics.get(name, NO_ESTIMATE))
    gap = published_gap(outcome, variant)
    yield "paper AP", exact(_share(variant.published_ap))
    yield "paper difference", exact(_share(gap))
    yield "paper GFLOPs", exact(variant.published_gflops)
    yield from _cost_record(variant.cost)
    yield "notes", "; ".join(variant.notes)
    for name in dict.fromkeys(name for each in outcome.variants for name in each.keypoints):
        yield from _gap_record(f"{name} difference", variant.keypoints.get(name))


def _ends(name: str, estimate: Estimate) -> Iterator[tuple[str, str]]:
    yield name, exact(estimate.value)
    yield f"{name} low", exact(estimate.low)
    yield f"{name} high", exact(estimate.high)


def _gap_record(name: str, gap: Gap | None) -> Iterator[tuple[str, str]]:
    gap = gap or NO_GAP
    yield from _ends(name, Estimate(gap.value, gap.low, gap.high))
    yield f"{name} p", exact(gap.p_value)
    yield f"{name} p Holm", exact(gap.adjusted)


def _cost_record(cost: Cost | None) -> Iterator[tuple[str, str]]:
    yield "parameters", "" if cost is None else str(cost.parameters)
    yield "GFLOPs", exact(None if cost is None else cost.gflops)
    yield "images/s", exact(None if cost is None else cost.training_rate)
    yield "latency ms", exact(None if cost is None else cost.latency_ms)
    yield "peak MiB", exact(None if cost is None else cost.memory_mib)


def _share(percentage: float | None) -> float | None:
    return None if percentage is None else round(percentage / 100, 6)
