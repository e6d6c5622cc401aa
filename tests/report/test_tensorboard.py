from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpn.engine.events import EventWriter
from cpn.report.charts import charts
from cpn.report.data import Figure, ReportData
from cpn.report.tensorboard import log_report


def test_numbers_with_intervals_and_every_chart(report: ReportData, tmp_path: Path) -> None:
    headline = {"AP": Figure(0.7, 0.6, 0.8), "APM": Figure(0.5), "APL": Figure(float("nan"))}
    writer = EventWriter(tmp_path, first_step=0)
    log_report(replace(report, headline=headline), writer, step=7)
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = {tag: events.Scalars(tag)[0] for tag in events.Tags()["scalars"]}
    values = {tag: event.value for tag, event in scalars.items()}
    assert {event.step for event in scalars.values()} == {7}
    assert [values[f"report/AP{end}"] for end in ("", "/low", "/high")] == pytest.approx(
        [0.7, 0.6, 0.8]
    )
    assert "report/APM/low" not in values
    assert "report/APL" not in values
    assert values["report/AP if fixed/swap"] == pytest.approx(0.772)
    assert values["report/calibration error/after fitting"] == pytest.approx(0.01)
    assert "report/left_wrist/AP medium/low" in values
    assert set(events.Tags()["images"]) == {f"report/{chart.key}" for chart in charts(report)}
    assert events.Images("report/curves-0")[0].width == 640
