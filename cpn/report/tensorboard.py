"""The report's figures for TensorBoard: numbers and intervals as scalars, charts as images."""

import math
from collections.abc import Iterator

from cpn.engine.events import EventWriter
from cpn.report.charts import charts
from cpn.report.data import Figure, ReportData
from cpn.report.drawing import to_pixels


def log_report(data: ReportData, writer: EventWriter, *, step: int) -> None:
    """Log what the page shows, but for the gallery.

    Scalars are `report/AP`, `report/AP/low` and `report/AP/high`, so that the ends of the interval
    are found beside the number; images are `report/curves-0`, `report/keypoints-ap` and so on.

    Args:
        data: what is shown; what is empty is not logged.
        writer: of the run's TensorBoard folder.
        step: optimizer step of the weights that were evaluated.
    """
    writer.scalars(dict(_scalars(data)), step)
    for chart in charts(data):
        writer.image(f"report/{chart.key}", to_pixels(chart), step)


def _scalars(data: ReportData) -> Iterator[tuple[str, float]]:
    for name, figure in data.headline.items():
        yield from _number(f"report/{name}", figure)
    for row in (*data.keypoints, *data.parts):
        for area, figure in row.ap.items():
            yield from _number(f"report/{row.name}/AP {area}", figure)
    if data.errors is not None:
        for error in data.errors.types:
            if error.ap_if_fixed is not None:
                yield f"report/AP if fixed/{error.name}", error.ap_if_fixed
    for one in data.calibration:
        yield f"report/calibration error/{one.name}", one.ece


def _number(tag: str, figure: Figure) -> Iterator[tuple[str, float]]:
    """A number that there is no ground truth for has no point in TensorBoard."""
    if not math.isfinite(figure.value):
        return
    yield tag, figure.value
    if figure.interval:
        yield f"{tag}/low", figure.interval[0]
        yield f"{tag}/high", figure.interval[1]
