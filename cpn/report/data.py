"""What a report is made of. Whoever evaluates fills it; nothing is computed here.

Names, paths and the command line may come from anywhere: they are escaped where they are shown.
What is empty or None was not evaluated: its section then says so in one line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cpn.skeleton import Skeleton

FloatArray = NDArray[np.float64]


class KeypointType(StrEnum):
    """What became of one keypoint (Ronchi & Perona, ICCV 2017, section 3.1)."""

    GOOD = "good"
    JITTER = "jitter"
    INVERSION = "inversion"
    SWAP = "swap"
    MISS = "miss"


class Kind(StrEnum):
    """Why an instance is in the gallery; one may have several reasons."""

    JITTER = "jitter"
    INVERSION = "inversion"
    SWAP = "swap"
    MISS = "miss"
    SCORE = "score"
    FALSE_POSITIVE = "false_positive"
    FALSE_NEGATIVE = "false_negative"


class Section(StrEnum):
    """What may be left out, see `ReportData.why_missing`."""

    CURVES = "curves"
    KEYPOINTS = "keypoints"
    ERRORS = "errors"
    SLICES = "slices"
    CALIBRATION = "calibration"
    GALLERY = "gallery"


@dataclass(frozen=True)
class Figure:
    """A number and its interval.

    Attributes:
        value: NaN where there is no ground truth for it.
        low: lower end of the interval; None or NaN: there is none.
        high: upper end.
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends, where there are any of a number that there is."""
        if self.low is None or self.high is None:
            return None
        return (
            (self.low, self.high) if np.isfinite([self.value, self.low, self.high]).all() else None
        )


@dataclass(frozen=True)
class Curve:
    """Precision against recall.

    Attributes:
        name: as in the legend, say "OKS 0.75".
        recall: P values, rising, 0..1.
        precision: P values, 0..1.
        ap: the average precision that goes with it; None: not shown.
    """

    name: str
    recall: Sequence[float] | FloatArray
    precision: Sequence[float] | FloatArray
    ap: float | None = None

    def __post_init__(self) -> None:
        if len(self.recall) != len(self.precision) or len(self.recall) == 0:
            raise ValueError(
                f"curve '{self.name}' needs as many precisions as recalls and at least one, got"
                f" {len(self.precision)} and {len(self.recall)}"
            )


@dataclass(frozen=True)
class CurveGroup:
    """Curves of one picture: all people at ten OKS thresholds, or one threshold by area."""

    title: str
    curves: Sequence[Curve]


@dataclass(frozen=True)
class KeypointRow:
    """One keypoint, body part or any other row of their table.

    Attributes:
        name: the keypoint or the part.
        ap: by area, in the order of the columns: {"all": …, "medium": …, "large": …}.
        pck: share of keypoints within 0.2 torso lengths of the truth, those of people without a
            result wrong, 0..1; None: not computed.
        counts: how many keypoints of people with a result are of each type; empty: not diagnosed.
    """

    name: str
    ap: Mapping[str, Figure]
    pck: float | None = None
    counts: Mapping[KeypointType, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ErrorType:
    """A kind of error.

    Attributes:
        name: say "swap".
        count: keypoints or instances that have it.
        ap_if_fixed: AP if all of these were right and nothing else changed; None: not computed.
        meaning: one sentence for who has not read the paper.
        ap_in_turn: AP if these and all kinds before this one were right; None: not computed.
    """

    name: str
    count: int
    ap_if_fixed: float | None
    meaning: str = ""
    ap_in_turn: float | None = None


@dataclass(frozen=True)
class ErrorBreakdown:
    """Which errors there are and what each costs.

    Attributes:
        types: the kinds of error.
        base_ap: what `ErrorType.ap_if_fixed` is to be compared with.
        note: of what AP this is, say "AP at OKS 0.75, all areas".
    """

    types: Sequence[ErrorType]
    base_ap: float
    note: str = ""


@dataclass(frozen=True)
class Slice:
    """Some of the people, say those with 1 to 5 visible keypoints.

    Attributes:
        group: by what people are told apart, say "visible keypoints".
        name: which ones, say "1-5".
        num_people: how many ground truths.
        ap: their AP.
        mean_oks: 0 for those without a result; None: not computed.
    """

    group: str
    name: str
    num_people: int
    ap: Figure
    mean_oks: float | None = None


@dataclass(frozen=True)
class ReliabilityBin:
    """Detections whose score lies in [score_low, score_high); means are NaN where it is empty."""

    score_low: float
    score_high: float
    count: int
    mean_score: float
    mean_oks: float


@dataclass(frozen=True)
class Calibration:
    """How far scores mean the OKS that they promise.

    Attributes:
        name: which scores, say "as predicted" or "rescaled".
        bins: by score, rising.
        ece: expected calibration error, the mean of |score - OKS| over bins by their counts.
        rescaled_ece: what is left of it by a rescaling fitted to other images; None: not known.
    """

    name: str
    bins: Sequence[ReliabilityBin]
    ece: float
    rescaled_ece: float | None = None


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """A person, a detection, or a person with the detection that was matched to it.

    Attributes:
        kinds: why it is shown; empty for one that only has a low OKS.
        image_id: of the photo.
        photo: where the photo is; None: unknown, the skeletons are shown alone.
        box_xywh: the person's box, a false positive's own.
        annotation_id: of the person; None for a false positive.
        result_index: position in the results; None for a false negative.
        oks: of the match; None without one.
        score: of the detection; None without one.
        truth: (K, 3) x, y, visibility; drawn where v > 0.
        predicted: (K, 3) x, y, score.
        keypoint_types: K types, None where a keypoint is not labelled.
    """

    kinds: Sequence[Kind]
    image_id: int
    photo: Path | None
    box_xywh: Sequence[float] | FloatArray
    annotation_id: int | None = None
    result_index: int | None = None
    oks: float | None = None
    score: float | None = None
    truth: FloatArray | None = None
    predicted: FloatArray | None = None
    keypoint_types: Sequence[KeypointType | None] | None = None

    def __post_init__(self) -> None:
        if len(self.box_xywh) != 4 or not np.isfinite(self.box_xywh).all():
            raise ValueError(
                f"image {self.image_id}: box_xywh needs four finite numbers, got"
                f" {list(self.box_xywh)}"
            )

    @property
    def size(self) -> float:
        """The root of the box's area, in pixels of the photo."""
        return float(max(self.box_xywh[2] * self.box_xywh[3], 0.0) ** 0.5)


@dataclass(frozen=True)
class ReportData:
    """All that the page shows.

    Attributes:
        title: heading of the page, say the name of the run.
        created: when it was evaluated; with a time zone.
        command_line: what to type to evaluate again.
        box_source: where the person boxes come from; AP says nothing without it.
        skeleton: names and limbs of the K keypoints.
        num_images: images that were evaluated.
        num_people: ground truths that count.
        num_detections: results that were scored.
        headline: the COCO numbers by name, in their order, and any other, 0..1.
        interval_note: what the intervals are, say "95 % intervals: bootstrap over images", or why
            there are none.
        facts: of model, checkpoint and data, shown as they are.
        curves: precision-recall, a picture per group.
        keypoints: a row per keypoint.
        parts: a row per body part.
        errors: breakdown by type.
        slices: people by their properties, groups one after the other.
        calibration: scores against OKS, one or several.
        gallery: candidates; `cpn.report.gallery` takes the worst of each kind.
        found: how many there are of a kind where `gallery` holds only some of them.
        why_missing: instead of the standard line for a section that is left out.
    """

    title: str
    created: datetime
    command_line: str
    box_source: str
    skeleton: Skeleton
    num_images: int
    num_people: int
    num_detections: int
    headline: Mapping[str, Figure]
    interval_note: str | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    curves: Sequence[CurveGroup] = ()
    keypoints: Sequence[KeypointRow] = ()
    parts: Sequence[KeypointRow] = ()
    errors: ErrorBreakdown | None = None
    slices: Sequence[Slice] = ()
    calibration: Sequence[Calibration] = ()
    gallery: Sequence[GalleryItem] = ()
    found: Mapping[Kind, int] = field(default_factory=dict)
    why_missing: Mapping[Section, str] = field(default_factory=dict)
