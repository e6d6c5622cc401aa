"""Looks through a data set, all of it, before it is trained on."""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from cpn.config.data_schema import CheckDataConfig, DataConfig, MixedConfig, SplitConfig
from cpn.data.annotations import read_keypoint_names
from cpn.data.inspection import (
    Finding,
    PhotoReport,
    PhotoState,
    SplitReport,
    inspect_photos,
    inspect_shared_photos,
    inspect_split,
    inspect_together,
)
from cpn.errors import UserError
from cpn.files.atomic import write_json
from cpn.skeleton import Skeleton, sided_pairs
from cpn.tasks.data.datasets import annotation_path, flip_pairs, read_split
from cpn.tasks.data.findings_report import DataReport, SplitPart, show_report
from cpn.tasks.data.mixed_people import read_mixed

NO_PHOTOS = PhotoReport([], {})
MEND = "mend the file"
Checked = Mapping[str, tuple[SplitPart, PhotoReport]]


def check_data(config: CheckDataConfig) -> bool:
    """Reads every record and decodes every photo, tells what is wrong, ends with a verdict.

    Returns:
        Whether the data can be trained on.

    Raises:
        UserError: `config.out` cannot be written.
    """
    console = Console(width=None if Console().is_terminal else 120)
    checked = {str(name): _check_split(config.data, name, console) for name in config.splits}
    together = _together(checked)
    if "train" in checked:
        mixed = {
            f"mix.{n}": _check_mixed(config.data, n, console) for n in range(len(config.data.mix))
        }
        together += _shared_with_val(mixed, checked)
        checked |= mixed
    report = DataReport({name: part for name, (part, _) in checked.items()}, together)
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
        return _unreadable(split, error)
    photos = _look_at_photos(
        data, split, report, console, unread=training and data.cache is not None
    )
    findings = [*report.findings, *photos.findings]
    if not any(finding.severity == "error" for finding in findings):
        findings += _refused_by_training(data, split, for_training=training)
    facts = report.facts | _limit(split)
    return SplitPart(split.annotations, facts, report.keypoints, findings), photos


def _unreadable(
    split: SplitConfig | MixedConfig, error: UserError | OSError
) -> tuple[SplitPart, PhotoReport]:
    return SplitPart(split.annotations, {}, (), [Finding.of_error(error, MEND)]), NO_PHOTOS


def _check_mixed(data: DataConfig, number: int, console: Console) -> tuple[SplitPart, PhotoReport]:
    """A further set to train on: its people are mirrored and scored in data.train's skeleton."""
    mixed: MixedConfig = data.mix[number]
    path = Path(mixed.annotations)
    try:
        pairs, _ = sided_pairs(read_keypoint_names(path))
        report = inspect_split(
            path, Path(mixed.images), sigmas="default", flip_pairs=pairs, needs_area=False
        )
    except (UserError, OSError) as error:
        return _unreadable(mixed, error)
    photos = _look_at_photos(data, mixed, report, console, unread=False)
    findings = [*report.findings, *photos.findings]
    facts = {key: text for key, text in report.facts.items() if key not in {"sigmas", "flip pairs"}}
    if not any(finding.severity == "error" for finding in findings):
        try:
            skeleton = read_split(data, data.train, for_training=True).skeleton
            people = read_mixed(data, number, skeleton)
            facts["taken"] = _taken(people.keypoints[..., 2] > 0, skeleton)
        except (UserError, OSError) as error:
            findings.append(Finding.of_error(error, MEND))
    return SplitPart(mixed.annotations, facts, report.keypoints, findings), photos


def _taken(labelled: npt.NDArray[np.bool_], skeleton: Skeleton) -> str:
    """What training gets of a mixed set."""
    has = np.count_nonzero(labelled, axis=0) > 0
    names = [name for name, known in zip(skeleton.keypoint_names, has, strict=True) if not known]
    without = f", without {', '.join(names)}" if names else ""
    return f"{len(labelled)} people, {has.sum()} of train's {len(has)} keypoints{without}"


def _shared_with_val(mixed: Checked, checked: Checked) -> list[Finding]:
    if "val" not in checked:
        return []
    val = checked["val"][1].names
    return [
        finding
        for name, (_, photos) in mixed.items()
        for finding in inspect_shared_photos(photos.names, val, trained=name)
    ]


def _look_at_photos(
    data: DataConfig,
    split: SplitConfig | MixedConfig,
    report: SplitReport,
    console: Console,
    *,
    unread: bool,
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


def _together(checked: Checked) -> list[Finding]:
    known = [pair for pair in checked.values() if pair[0].keypoints]
    if len(known) < 2:
        return []
    names = [[share.name for share in part.keypoints] for part, _ in known]
    return inspect_together(names, [photos.names for _, photos in known])
