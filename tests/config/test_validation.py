import math
from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from cpn.config.validation import ConfigError, Problem, did_you_mean, validate_plain
from cpn.errors import UserError


class _Base(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Optimizer(_Base):
    name: Literal["adamw", "sgd"]
    lr: Annotated[float, Field(gt=0)]
    decay: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    steps: int | Literal["auto"] = 1

    @model_validator(mode="after")
    def _no_decay_for_sgd(self) -> Self:
        if self.name == "sgd" and self.decay is not None:
            raise ValueError("sgd takes no decay")
        return self


class _Config(_Base):
    seed: int
    flip: bool
    optimizer: _Optimizer
    levels: list[int]


def _config(**changes: Any) -> dict[str, Any]:
    optimizer = {"name": "adamw", "lr": 0.1, **changes.pop("optimizer", {})}
    return {"seed": 0, "flip": True, "levels": [2, 3], "optimizer": optimizer, **changes}


def _problems(config: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ConfigError) as error:
        validate_plain(config, _Config)
    return {problem.where: problem.what for problem in error.value.problems}


def test_a_good_config_becomes_a_frozen_schema() -> None:
    config = validate_plain(_config(optimizer={"lr": 1, "betas": [0.5, 0.9]}), _Config)
    assert config.optimizer.lr == 1.0
    assert isinstance(config.optimizer.lr, float)
    assert config.optimizer.betas == (0.5, 0.9)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


@pytest.mark.parametrize(
    ("changes", "where", "what"),
    [
        ({"seed": "7"}, "seed", 'got "7", allowed: an integer'),
        ({"seed": True}, "seed", "got true, allowed: an integer"),
        ({"seed": 1.0}, "seed", "got 1.0, allowed: an integer"),
        ({"seed": None}, "seed", "got null, allowed: an integer"),
        ({"flip": 1}, "flip", "got 1, allowed: true or false"),
        ({"flip": "yes"}, "flip", 'got "yes", allowed: true or false'),
        ({"levels": 2}, "levels", "got 2, allowed: a list of 0 or more, each an integer"),
        ({"levels": [2, "3"]}, "levels[1]", 'got "3", allowed: an integer'),
        ({"optimizer": {"lr": -1}}, "optimizer.lr", "got -1, allowed: a number > 0"),
        ({"optimizer": {"lr": False}}, "optimizer.lr", "got false, allowed: a number > 0"),
        ({"optimizer": {"lr": math.nan}}, "optimizer.lr", "got nan, allowed: a finite number"),
        ({"optimizer": {"decay": math.inf}}, "optimizer.decay", "got inf, allowed: a finite"),
        ({"optimizer": {"betas": [1, 2, 3]}}, "optimizer.betas", "got [1, 2, 3], allowed: a list"),
        ({"optimizer": {"betas": [1]}}, "optimizer.betas[1]", "no value given, allowed: a number"),
        ({"optimizer": {"steps": "x"}}, "optimizer.steps", "allowed: an integer or auto"),
        ({"optimizer": {"name": "adam"}}, "optimizer.name", "(did you mean adamw?)"),
        ({"optimizer": {"name": "sgd", "decay": 0.1}}, "optimizer", "sgd takes no decay"),
        ({"optimizer": {"nam": 1}}, "optimizer.nam", "did you mean optimizer.name?"),
        ({"optimizer": {"wibble": 1}}, "optimizer.wibble", "Keys of optimizer: name, lr, decay"),
        ({"lr": 1}, "lr", "did you mean optimizer.lr?"),
        ({"_target_": "os.system"}, "_target_", "unknown key"),
    ],
)
def test_each_problem_names_key_value_and_what_is_allowed(
    changes: dict[str, Any], where: str, what: str
) -> None:
    problems = _problems(_config(**changes))
    assert list(problems) == [where]
    assert what in problems[where]


def test_no_wild_guess_where_nothing_is_near() -> None:
    assert "did you mean" not in _problems(_config(wibble=1))["wibble"]


def test_a_missing_key_says_what_belongs_there() -> None:
    config = _config()
    del config["seed"], config["optimizer"]["lr"]
    assert _problems(config) == {
        "seed": "no value given, allowed: an integer",
        "optimizer.lr": "no value given, allowed: a number > 0",
    }


def test_all_problems_come_at_once() -> None:
    config = _config(seed="x", flip=0, levels=[math.inf], optimizer={"lr": 0, "nam": 1})
    assert set(_problems(config)) == {"seed", "flip", "levels[0]", "optimizer.lr", "optimizer.nam"}


def test_one_problem_is_one_line_and_several_are_a_list() -> None:
    one = ConfigError([Problem("a.b", "got 1, allowed: 2")])
    assert str(one) == "a.b: got 1, allowed: 2"
    two = ConfigError([Problem("a", "x"), Problem("", "y")])
    assert str(two) == "2 problems in the configuration\n  a: x\n  y"
    assert isinstance(one, UserError)


def test_long_values_are_cut_short() -> None:
    assert len(_problems(_config(seed="x" * 500))["seed"]) < 120


def test_the_nearest_name() -> None:
    assert did_you_mean("learning_rat", ["rate", "learning_rate"]) == "learning_rate"
    assert did_you_mean("x", ["rate"]) is None
    assert did_you_mean("x", []) is None
