"""Writes a study's page as one HTML file: tables to sort, charts, and how to read them."""

from pathlib import Path

from cpn.ablation.cells import (
    confidence_text,
    keypoint_table,
    notes,
    progress,
    tables,
    with_signs,
)
from cpn.ablation.charts import charts
from cpn.ablation.conclusions import ALPHA
from cpn.ablation.outcome import StudyOutcome
from cpn.files.atomic import write_atomically
from cpn.report.document import Page, drawn_by_section


def write_study_page(outcome: StudyOutcome, path: Path) -> int:
    """Write the page, complete or not at all. It opens from disk and loads nothing.

    Args:
        outcome: what is known so far; what is not known is left out or a dash.
        path: the HTML file; its folder is made.

    Returns:
        Its size in bytes.

    Raises:
        OSError: it cannot be written; what was there is unchanged.
    """
    content = render(outcome).encode()
    write_atomically(path, content)
    return len(content)


def render(outcome: StudyOutcome) -> str:
    """The page as text."""
    found, others, costs = tables(outcome)
    return _PAGE.render(
        study=outcome,
        found=found,
        others=others,
        costs=costs,
        keypoints=keypoint_table(outcome),
        notes=notes(outcome),
        progress=progress(outcome),
        confidence=confidence_text(outcome),
        significant=ALPHA,
        has_paper=any(each.published_ap is not None for each in outcome.variants),
        charts=drawn_by_section(charts(outcome)),
    )


_PAGE = Page(
    package="cpn.ablation",
    template="study.html",
    styles=("study.css",),
    scripts=("sort.js",),
    filters={"signs": with_signs},
)
