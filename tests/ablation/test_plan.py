from collections.abc import Sequence
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from cpn.ablation.plan import (
    Variant,
    chosen_variants,
    fingerprint,
    plan_variants,
    require_comparable,
    require_distinct,
)
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig, TrainingConfig
from cpn.config.study_schema import BudgetConfig, StudyConfig
from cpn.config.validation import ConfigError
from cpn.errors import UserError
from cpn.tasks.ablation.subjects import POSES

CONFIGS = Path(__file__).parents[2] / "configs"
USE_KEYS = POSES.use_keys


def composed(overrides: Sequence[str]) -> TrainConfig:
    """What a script composes; each call is told which overrides it got."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return validate(compose("train", overrides=list(overrides)), TrainConfig)


def study(**variants: list[str]) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "name": "s",
            "title": "t",
            "source": None,
            "baseline": next(iter(variants)),
            "variants": {name: {"overrides": given} for name, given in variants.items()},
            "only": None,
            "seeds": [0, 3],
            "jobs": None,
            "budget": BudgetConfig(steps=None, minutes=None, halving=False).model_dump(),
            "timing_steps": 1,
            "confidence": 0.95,
            "resamples": 10,
        }
    )


def planned(given: Sequence[str] = (), **variants: list[str]) -> dict[str, Variant]:
    return plan_variants(study(**variants), given, composed, use_keys=USE_KEYS, epochs={})


def of_poses(config: TrainingConfig) -> TrainConfig:
    assert isinstance(config, TrainConfig)
    return config


def test_every_variant_with_every_seed() -> None:
    found = planned(
        ["engine.epochs=3", "study=x", "out=y", "dry_run=true"], a=[], b=["engine.epochs=2"]
    )
    assert [
        (run.key, run.training.seed, run.training.engine.epochs)
        for variant in found.values()
        for run in variant.runs.values()
    ] == [
        (("a", 0), 0, 3),
        (("a", 3), 3, 3),
        (("b", 0), 0, 2),
        (("b", 3), 3, 2),
    ]
    assert len({run.training_id for v in found.values() for run in v.runs.values()}) == 4


def test_a_variants_choice_of_a_group_takes_the_place_of_the_shared_one() -> None:
    found = planned(["backbone=resnet10", "loss=l2"], a=[], b=["backbone=resnet18"])
    assert found["b"].first.training.backbone.name == "resnet18"
    assert of_poses(found["b"].first.training).loss.refine_top_m is None


def test_variants_that_differ_in_use_share_their_trainings() -> None:
    found = planned([], a=[], b=["decode=argmax"], c=["decode.flip_test=false", "loss=l2"])
    a, b, c = (variant.first for variant in found.values())
    assert a.training_id == b.training_id != c.training_id
    assert len({a.use_id, b.use_id, c.use_id}) == 3
    assert of_poses(b.training).decode.method == "dark"
    assert of_poses(b.use).decode.method == "argmax"
    assert of_poses(c.use).loss.refine_top_m is None


def test_use_keys_may_be_within_a_group_that_is_trained() -> None:
    """decode.method is of use alone, decode.flip_test and decode are not: as asked for."""
    wanted = study(a=[], b=["decode.method=argmax"], c=["decode.flip_test=false"], d=["decode=cpn"])
    found = plan_variants(wanted, [], composed, use_keys=["decode.method"], epochs={})
    a, b, c, d = (variant.first for variant in found.values())
    assert len({a.training_id, c.training_id, d.training_id}) == 3
    assert (a.training_id, len({a.use_id, b.use_id})) == (b.training_id, 2)


def test_a_budget_cuts_epochs() -> None:
    found = plan_variants(study(a=[], b=[]), [], composed, use_keys=USE_KEYS, epochs={"b": 2})
    assert found["a"].first.training.engine.epochs == 32
    assert found["b"].first.training.engine.epochs == 2


def test_all_that_is_wrong_with_all_variants_is_told() -> None:

    variants = {f"v{n}": [f"engine.epochs={n}"] for n in range(1, 7)}
    with pytest.raises(ConfigError) as error:
        planned([], **variants, v7=["loss.refine_top_m=0"], v8=["seed=4"])
    assert [problem.where for problem in error.value.problems] == [
        "study.variants.v7.overrides",
        "study.variants.v8.overrides",
    ]
    assert "loss.refine_top_m: got 0" in str(error.value)
    assert "seed=4: not here" in str(error.value)


@pytest.mark.parametrize("given", ["seed=4", "run.name=x", "++run.root=x"])
def test_what_a_study_decides_itself_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match=r"not here: studies and searches set seeds"):
        planned([given], a=[])


def test_variants_that_are_one_are_refused() -> None:
    found = planned(["loss=l2"], a=[], b=["loss.refine_top_m=null"])
    with pytest.raises(UserError, match=r"a and b are the same configuration"):
        require_distinct(found.values())
    require_distinct(planned([], a=[], b=["loss.refine_top_m=null"]).values())


def test_variants_on_other_people_are_refused() -> None:
    require_comparable(planned([], a=[], b=["loss=l2"]).values())
    with pytest.raises(UserError, match=r"data.val differs between variants"):
        require_comparable(planned([], a=[], b=["data.val.limit=3"]).values())


def test_a_fingerprint_forgets_what_changes_nothing() -> None:
    base = fingerprint(composed([]))
    same = ["run.name=x", "data.workers=7", "engine.log_every=1", "engine.device=cpu"]
    assert fingerprint(composed(same)) == base
    for override in ("seed=1", "decode=argmax", "data.train.limit=3", "engine.epochs=1"):
        assert fingerprint(composed([override])) != base


def test_only_chooses_variants_and_keeps_the_baseline() -> None:
    plan = study(a=[], b=["engine.epochs=2"], c=["engine.epochs=3"])
    chosen = plan.model_copy(update={"only": ["c"]})
    assert list(chosen_variants(chosen)) == ["a", "c"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"baseline": "x"}, "no variant x; there are a"),
        ({"only": ["x"]}, "no variant x; there are a"),
        ({"seeds": [1, 1]}, "seeds are repeated"),
        ({"name": "trainings"}, "runs which studies share"),
        ({"name": ".."}, "name"),
        ({"variants": {"a": {"overrides": []}, "A": {"overrides": []}}}, "more than their case"),
        ({"seeds": [1], "budget": {"steps": None, "minutes": None, "halving": True}}, "two seeds"),
    ],
)
def test_studies_that_contradict_themselves(changes: dict[str, object], told: str) -> None:
    values = study(a=[]).model_dump() | changes
    with pytest.raises(ValueError, match=told):
        StudyConfig.model_validate(values)
