"""One directory per run: never overwritten unasked, resumed only with the same config."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cpn.config.schema import TrainConfig
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError

# What may change between a run and its resumption without changing its result.
_FREE_KEYS = frozenset(
    {"run.if_exists", "data.workers", "engine.device", "engine.log_every", "engine.timeout_seconds"}
)


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run.

    Attributes:
        path: `<run.root>/<run.name>`.
        resume: there is an earlier part of this run to continue.
    """

    path: Path
    resume: bool

    @property
    def config(self) -> Path:
        """The composed config."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Training states to resume from."""
        return self.path / "checkpoints"

    @property
    def last_model(self) -> Path:
        """The model after the newest epoch."""
        return self.path / "model.safetensors"

    @property
    def best_model(self) -> Path:
        """The model of the best evaluation so far."""
        return self.path / "best.safetensors"


def prepare_run_directory(config: TrainConfig, context: DistributedContext) -> RunDirectory:
    """Makes, empties or takes up the run's directory, decided once for all ranks.

    Raises:
        UserError: it exists and `run.if_exists=refuse`; or its config differs on resume; or it is
            not a run of ours and would be deleted.
    """
    problem: str | None = None
    directory: RunDirectory | None = None
    if context.is_main:
        try:
            directory = _prepare(config)
        except UserError as error:
            problem = str(error)
    directory, problem = context.broadcast_object((directory, problem))
    if directory is None:
        raise UserError(problem or "the main process made no run directory")
    return directory


def _prepare(config: TrainConfig) -> RunDirectory:
    path = Path(config.run.root) / config.run.name
    directory = RunDirectory(path, resume=False)
    occupied = path.exists() and any(path.iterdir())
    if occupied and config.run.if_exists == "refuse":
        raise UserError(
            f"run directory {path} exists; use run.if_exists=resume to continue it, "
            "run.if_exists=overwrite to delete it, or another run.name"
        )
    if occupied and not directory.config.is_file():
        raise UserError(f"{path} is not the directory of a run (no config.yaml): choose a run.name")
    if occupied and config.run.if_exists == "resume":
        _check_same_config(directory.config, config)
        return RunDirectory(path, resume=True)
    if occupied:
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    directory.config.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False))
    return directory


def _check_same_config(path: Path, config: TrainConfig) -> None:
    before = _flatten(yaml.safe_load(path.read_text()))
    now = _flatten(config.model_dump(mode="json"))
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key not in _FREE_KEYS
    ]
    if changed:
        raise UserError(
            f"{path}: cannot resume with another config ({'; '.join(changed)}); "
            "take the changes back or choose another run.name"
        )


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
