from typing import Any

import pytest

from cpn.engine.settings import TrainerSettings
from cpn.errors import UserError


@pytest.mark.parametrize("key", ["epochs", "accumulate", "log_every", "evaluate_every"])
def test_counts_start_at_one(key: str) -> None:
    values: dict[str, Any] = {"epochs": 1} | {key: 0}
    with pytest.raises(UserError, match=rf"engine.{key}=0 must be at least 1"):
        TrainerSettings(**values)


@pytest.mark.parametrize("norm", [0.0, -1.0, float("nan")])
def test_clip_norm_is_positive(norm: float) -> None:
    with pytest.raises(UserError, match=r"engine.clip_norm=.* must be greater than 0; null turns"):
        TrainerSettings(epochs=1, clip_norm=norm)
