"""Studies whose trainings are made up, in the real processes."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cpn.ablation.subject import Subject
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.config.study_schema import AblateConfig
from cpn.tasks.ablation.subjects import POSES

CONFIGS = Path(__file__).parents[3] / "configs"
Started = Callable[..., tuple[AblateConfig, "Composed", Subject[Any]]]
FAKE = replace(
    POSES, worker="tests.tasks.ablation.fake_worker", timer="tests.tasks.ablation.fake_timer"
)


class Composed:
    """What `cpn.command_line.load.Composer` is to a running script."""

    def __init__(self, given: Sequence[str]) -> None:
        self.given = list(given)

    def __call__(self, overrides: Sequence[str]) -> TrainConfig:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            return validate(compose("train", overrides=list(overrides)), TrainConfig)


def study_config(
    variants: dict[str, dict[str, Any]], given: Sequence[str], **keys: Any
) -> AblateConfig:
    """`scripts/ablate.py` with a study of one's own."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("ablate", overrides=["study=pyramid_levels", *given])
    study = {"name": "s", "baseline": next(iter(variants)), **keys}
    OmegaConf.set_struct(config, False)
    del config.study.variants
    config.study = OmegaConf.merge(config.study, study)
    config.study.variants = variants
    return validate(config, AblateConfig)


def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """`started(variants, "engine.epochs=3", seeds=[0])` are the arguments of `ablate`."""
    monkeypatch.setattr("cpn.tasks.collect.POSES", FAKE)
    monkeypatch.setenv("PYTHONPATH", str(CONFIGS.parent))

    def start(
        variants: dict[str, Sequence[str]], *given: str, **keys: Any
    ) -> tuple[AblateConfig, Composed, Subject[Any]]:
        settings: dict[str, dict[str, Any]] = {
            name: {"overrides": list(overrides)} for name, overrides in variants.items()
        }
        overrides = [f"out={tmp_path / 'studies'}", "engine.epochs=3", *given]
        return study_config(settings, overrides, **keys), Composed(overrides), FAKE

    return start
