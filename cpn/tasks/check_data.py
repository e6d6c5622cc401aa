"""Looks through a data set, all of it, before it is trained on."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from cpn.atomic import write_json
from cpn.config.data_schema import CheckDataConfig, DataConfig, SplitConfig
from cpn.data.inspection import (
    Finding,
    PhotoReport,
    PhotoState,
    SplitReport,
    inspect_photos,
    inspect_split,
    inspect_together,
)
from cpn.errors import UserError
from cpn.tasks.data_report import DataReport, SplitPart, show_report
from cpn.tasks.datasets import annotation_path, flip_pairs, read_split

NO_PHOTOS = PhotoReport([], {})
MEND = "mend the file"


def check_data(config: CheckDataConfig) -> bool:
    """Reads every record and decodes every photo, tells what is wrong, ends with a verdict.

    Returns:
        Whether the data can be trained on.

    Raises:
        UserError: `config.out` cannot be written.
    """
    console = Console(width=None if Console().is_terminal else 120)
    checked = {str(name): _check_split(config.data, name, console) for name in config.splits}
    report = DataReport({name: part for name, (part, _) in checked.items()}, _together(checked))
    show_report(report, console)
    if config.out is not None:
        write_json(Path(config.out), report.to_dict())
    return report.ready


def _check_split(data: DataConfig, name: str, console: Console) -> tuple[SplitPart, PhotoReport]:
    training = name == "train"
    split = data.train if training else data.val
    try:
        report = inspect_split(
            annotation_path(split),
            Path(split.images),
            sigmas=data.sigmas,
            flip_pairs=flip_pairs(data),
            needs_area=not training,
        )
    except (UserError, OSError) as error:
        return SplitPart(split.annotations, {}, (), [Finding.of_error(error, MEND)]), NO_PHOTOS
    photos = _look_at_photos(
        data, split, report, console, unread=training and data.cache is not None
    )
    findings = [*report.findings, *photos.findings]
    if not any(finding.severity == "error" for finding in findings):
        findings += _refused_by_training(data, split, for_training=training)
    facts = report.facts | _limit(split)
    return SplitPart(split.annotations, facts, report.keypoints, findings), photos


def _look_at_photos(
    data: DataConfig, split: SplitConfig, report: SplitReport, console: Console, *, unread: bool
) -> PhotoReport:
    if unread:
        advice = "leave out data.cache to have them decoded"
        return PhotoReport([Finding("note", "photos: data.cache stands for them", advice)], {})
    return inspect_photos(
        report.photos,
        Path(split.images),
        needed=report.needed,
        max_megapixels=data.max_megapixels,
        threads=max(1, data.workers),
        watch=partial(_with_progress, console, len(report.photos)),
    )


def _with_progress(
    console: Console, total: int, states: Iterable[PhotoState]
) -> Iterable[PhotoState]:
    return track(
        states,
        "photos",
        total=total,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _refused_by_training(
    data: DataConfig, split: SplitConfig, *, for_training: bool
) -> list[Finding]:
    """What the reader of `train` says has the last word."""
    try:
        read_split(data, split, for_training=for_training)
    except (UserError, OSError) as error:
        return [Finding.of_error(error, MEND)]
    return []


def _limit(split: SplitConfig) -> dict[str, str]:
    if split.limit is None:
        return {}
    return {"limit": f"only the first {split.limit} people are used; all are looked at here"}


def _together(checked: Mapping[str, tuple[SplitPart, PhotoReport]]) -> list[Finding]:
    known = [pair for pair in checked.values() if pair[0].keypoints]
    if len(known) < 2:
        return []
    names = [[share.name for share in part.keypoints] for part, _ in known]
    return inspect_together(names, [photos.names for _, photos in known])
