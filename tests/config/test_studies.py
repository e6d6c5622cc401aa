"""Every variant of every study can be trained, and is what its study says on every experiment."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from cpn.build import PoseCriterion, build_encoder, build_loss, build_model
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import OWN_KEYS
from cpn.data.sample import PoseBatch, PoseSample, collate_samples
from cpn.models.cpn import CpnOutput
from tests.config.studies import BASES, STUDIES, configs_of, read_study

NUM_KEYPOINTS = 17
EXPERIMENTS = sorted(set(BASES) - {"tiny"})


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_has_its_files_name_and_leaves_alone_what_it_decides(name: str) -> None:
    study = read_study(name)
    assert study.name == name
    assert len(study.variants) > 1
    overrides = [text for variant in study.variants.values() for text in variant.overrides]
    assert not {text.partition("=")[0].partition(".")[0] for text in overrides} & set(OWN_KEYS)
    published = [variant.published.ap is not None for variant in study.variants.values()]
    assert any(published) == (study.source is not None)


@pytest.mark.parametrize("name", STUDIES)
def test_variants_are_valid_and_say_themselves_what_varies_on_every_experiment(name: str) -> None:
    """No experiment, also one that is yet to be written, says what a study varies."""
    varied = _varied(name, "default")
    assert {base: _varied(name, base) for base in EXPERIMENTS} == dict.fromkeys(EXPERIMENTS, varied)
    assert [(a, b) for a, b in combinations(varied, 2) if varied[a] == varied[b]] == []
    for variant, row in read_study(name).variants.items():
        said: dict[str, Any] = {}
        for override in OverridesParser.create().parse_overrides(row.overrides):
            said |= _flat({override.key_or_group: override.value()})
        assert varied[variant].keys() <= said.keys(), variant


def _varied(name: str, base: str) -> dict[str, dict[str, Any]]:
    """By variant, the values of the dotted keys that are not the same in all variants."""
    variants = {
        variant: _flat(config.model_dump(mode="json"))
        for variant, config in configs_of(name, base).items()
    }
    first, *others = variants.values()
    keys = [key for key in first if any(other[key] != first[key] for other in others)]
    return {variant: {key: leaves[key] for key in keys} for variant, leaves in variants.items()}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        below = isinstance(value, dict)
        found |= _flat(value, f"{prefix}{key}.") if below else {f"{prefix}{key}": value}
    return found


@pytest.mark.long
@pytest.mark.parametrize("name", STUDIES)
def test_every_network_of_a_study_gives_its_maps_and_a_loss(name: str) -> None:
    networks = {_trained_part(config): config for config in configs_of(name, "tiny").values()}
    for config in networks.values():
        model = build_model(config, num_keypoints=NUM_KEYPOINTS)
        batch = _batch(config.input.height, config.input.width)
        out: CpnOutput = model(model.preprocess(batch.crops))
        assert [tuple(maps.shape) for maps in out.global_heatmaps] == _global_shapes(config)
        assert (out.refined_heatmaps is not None) == config.model.refine.enabled
        assert out.final.shape == _shape(config, stride=4)
        loss = build_loss(config.loss, model.level_names)
        total = PoseCriterion(model, build_encoder(config.heatmap), loss)(model, batch).total
        assert 0 < total.item() < float("inf")


def _trained_part(config: TrainConfig) -> str:
    return config.model_dump_json(include={"input", "backbone", "model", "heatmap", "loss"})


def _batch(height: int, width: int) -> PoseBatch:
    rng = np.random.default_rng(0)
    sample = PoseSample(
        crop=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        points=rng.uniform(0, width, (NUM_KEYPOINTS, 2)).astype(np.float32),
        visibility=np.arange(NUM_KEYPOINTS) % 3,
        image_to_crop=np.eye(2, 3),
        instance_id=1,
        image_id=1,
        box_score=1.0,
        box_area=1.0,
    )
    return collate_samples([sample, sample])


def _global_shapes(config: TrainConfig) -> list[tuple[int, ...]]:
    native = config.model.global_net.supervision == "native"
    levels = config.model.pyramid.levels[::-1]
    return [_shape(config, stride=2**level if native else 4) for level in levels]


def _shape(config: TrainConfig, *, stride: int) -> tuple[int, ...]:
    return 2, NUM_KEYPOINTS, config.input.height // stride, config.input.width // stride
