"""What a study is of: poses or detectors differ here, and nowhere else in what leads a study."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cpn.config.schema import TrainingConfig

ConfigT_contra = TypeVar("ConfigT_contra", bound=TrainingConfig, contravariant=True)


@dataclass(frozen=True)
class Wording:
    """How tables and pages call what is measured.

    Attributes:
        ap: which average precision "AP" is.
        sample: what GFLOPs and latency are of.
        latency: of what, in a few words.
        has_keypoints: whether there is an AP per keypoint.
    """

    ap: str
    sample: str
    latency: str
    has_keypoints: bool


@dataclass(frozen=True)
class Subject(Generic[ConfigT_contra]):
    """What a study trains and evaluates.

    Attributes:
        worker: `python -m <worker> <order>` trains one network, and evaluates it as often as is
            ordered: a `TrainingOrder` of its schema in, `RunFigures` out.
        timer: `python -m <timer> <order>` measures a variant: a `TimingOrder` in, a `VariantCost`
            out.
        use_keys: dotted keys, or groups of them, that change how a trained network is used, and
            nothing of its training: variants that differ in these alone share their trainings.
        facts: of a config, for the head of the table: on what the networks are evaluated.
        wording: of the table.
    """

    worker: str
    timer: str
    use_keys: tuple[str, ...]
    facts: Callable[[ConfigT_contra], Mapping[str, str]]
    wording: Wording
