"""Every variant of every study of detectors can be trained, and says itself what it varies."""

from collections.abc import Mapping
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from cpn.build_detector import build_detector
from cpn.command_line.composed import validate
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.study_schema import OWN_KEYS, AblateDetectorConfig, StudyConfig
from tests.detectors import people, photos

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = sorted(file.stem for file in (CONFIGS / "detector_study").glob("*.yaml"))
BASES: Mapping[str, tuple[str, ...]] = {
    "default": (),
    "retinanet_v2": ("network=retinanet_v2",),
    "demo": ("recipe=retinanet_demo",),
    "tiny": (
        *("recipe=retinanet_demo", "backbone.width=0.125", "detector.pyramid.channels=8"),
        *("detector.retinanet.norm=none", "detector.min_size=64", "detector.max_size=64"),
    ),
}
# RetinaNet, table 1c; FPN, table 2: (c) and (d), Fast R-CNN on fixed proposals.
PAPER_AP = {
    "anchors": {
        "1sc-1ar": 30.3,
        "2sc-1ar": 31.9,
        "3sc-1ar": 31.8,
        "1sc-3ar": 32.4,
        "2sc-3ar": 34.2,
        "3sc-3ar": 34.0,
        "4sc-3ar": 33.8,
    },
    "detector_fusion": {"FPN": 33.9, "laterals": 24.9},
}


@cache
def read_study(name: str) -> StudyConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("ablate_detector", [f"detector_study={name}"])
        return validate(composed, AblateDetectorConfig).study


@cache
def configs_of(name: str, base: str) -> Mapping[str, TrainDetectorConfig]:
    """What scripts/train_detector.py gets for each variant of a study."""
    variants = read_study(name).variants
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return {
            variant: validate(
                compose("train_detector", [*BASES[base], *row.overrides]), TrainDetectorConfig
            )
            for variant, row in variants.items()
        }


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_its_files_name_and_the_papers_figures(name: str) -> None:
    study = read_study(name)
    assert study.name == name
    assert not (CONFIGS / "study" / f"{name}.yaml").exists(), "studies share a folder of results"
    overrides = [text for variant in study.variants.values() for text in variant.overrides]
    assert not {text.partition("=")[0].partition(".")[0] for text in overrides} & set(OWN_KEYS)
    published = {variant: row.published.ap for variant, row in study.variants.items()}
    known = {variant: ap for variant, ap in published.items() if ap is not None}
    assert known == PAPER_AP.get(name, {})
    assert bool(known) == (study.source is not None)


@pytest.mark.parametrize("name", STUDIES)
def test_variants_are_valid_and_say_themselves_what_varies(name: str) -> None:
    """On every detector and recipe a study is the same comparison."""
    varied = _varied(name, "default")
    assert [_varied(name, base) for base in ("retinanet_v2", "demo")] == [varied, varied]
    assert [(a, b) for a, b in combinations(varied, 2) if varied[a] == varied[b]] == []
    for variant, row in read_study(name).variants.items():
        said: dict[str, Any] = {}
        for override in OverridesParser.create().parse_overrides(row.overrides):
            said |= _flat({override.key_or_group: override.value()})
        assert varied[variant].keys() <= said.keys(), variant


def _varied(name: str, base: str) -> dict[str, dict[str, Any]]:
    """By variant, the values of the dotted keys that are not the same in all variants."""
    flat = {
        variant: _flat(config.model_dump(mode="json"))
        for variant, config in configs_of(name, base).items()
    }
    first, *others = flat.values()
    keys = [key for key in first if any(other[key] != first[key] for other in others)]
    return {variant: {key: leaves[key] for key in keys} for variant, leaves in flat.items()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        below = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{key}.") if below else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize("name", STUDIES)
def test_every_detector_of_a_study_has_a_loss_and_finds_boxes(name: str) -> None:
    sizes = [(64, 64), (64, 48)]
    for variant, config in configs_of(name, "tiny").items():
        torch.manual_seed(0)
        model = build_detector(config.backbone, config.detector)
        losses: Any = model(photos(sizes), people(sizes))
        assert all(loss.isfinite() for loss in losses.values()), variant
        with torch.inference_mode():
            assert len(model.eval()(photos(sizes))) == 2


def test_levels_go_with_anchors_of_four_times_their_stride() -> None:
    """As FPN and RetinaNet have them, so that a level stands for the sizes of its people."""
    for variant, config in configs_of("detector_levels", "default").items():
        levels = config.detector.pyramid.all_levels
        assert config.detector.anchors.sizes == [4 * 2**level for level in levels], variant
        assert variant == f"P{levels[0]}-P{levels[-1]}"
