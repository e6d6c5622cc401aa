"""One directory per run: never overwritten unasked, resumed only with the same config."""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml

from cpn.config.guard import refuse_yaml_markup
from cpn.config.schema import TrainConfig, TrainingConfig
from cpn.config.validation import ConfigError, validate_plain
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError, os_error_text
from cpn.files.atomic import write_atomically
from cpn.tasks.training.run_inputs import note_inputs, require_same_inputs

T = TypeVar("T")

# What may change between a run and its resumption without changing its result; only, on another
# device precision=auto may choose another precision, of which the trainer warns.
_FREE_KEYS = frozenset(
    {
        *("run.if_exists", "run.root", "run.name"),
        *("data.workers", "data.cache_copies", "data.cache_gib"),
        *("data.on_error", "data.max_skipped"),
        *("engine.device", "engine.log_every", "engine.timeout_seconds"),
        *("engine.save_every_steps", "engine.save_every_minutes"),
    }
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
    def inputs(self) -> Path:
        """Which annotations it is of, see `cpn.tasks.training.run_inputs`."""
        return self.path / "inputs.json"

    @property
    def status(self) -> Path:
        """What becomes of the run, see `cpn.tasks.training.run_status`."""
        return self.path / "status.json"

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


def plan_run_directory(config: TrainingConfig, context: DistributedContext) -> RunDirectory:
    """Decides where the run's files go, for all ranks; nothing on the disk changes yet.

    A folder that holds nothing but a config.yaml and inputs.json is free: its run never came to a
    step.

    Raises:
        UserError: it exists and `run.if_exists=refuse`; or its config differs on resume; or it is
            not a run of ours and would be deleted; or no folder can be made there.
    """
    return decided_by_main(partial(_plan, config), context)


def make_run_directory(config: TrainingConfig, context: DistributedContext) -> RunDirectory:
    """Makes, empties or takes up the directory; what is there is looked at anew.

    To be called when all else is ready: this is what deletes an earlier run.

    Raises:
        UserError: as for `plan_run_directory`, the disk does not let it, or an earlier part of the
            run was trained on other annotations.
    """
    return decided_by_main(partial(_make, config), context)


def decided_by_main(function: Callable[[], T], context: DistributedContext) -> T:
    """What `function` gives on the main rank, on every rank; where it fails, every rank fails.

    Raises:
        UserError: as the function, also in place of its OSError.
    """
    value: T | None = None
    problem: str | None = None
    if context.is_main:
        try:
            value = function()
        except UserError as error:
            problem = str(error)
        except OSError as error:
            problem = os_error_text(error)
    value, problem = context.broadcast_object((value, problem))
    if problem is not None:
        raise UserError(problem)
    return cast("T", value)


def _plan(config: TrainingConfig) -> RunDirectory:
    path = Path(config.run.root) / config.run.name
    directory = RunDirectory(path, resume=False)
    _require_folder(path)
    first = (directory.config, directory.inputs)
    occupied = path.is_dir() and any(file not in first for file in path.iterdir())
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
    return directory


def _make(config: TrainingConfig) -> RunDirectory:
    directory = _plan(config)
    if directory.resume:
        require_same_inputs(directory.inputs, config)
        return directory
    if directory.path.exists():
        shutil.rmtree(directory.path)
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_atomically(directory.config, text.encode())
    note_inputs(directory.inputs, config)
    return directory


def _require_folder(path: Path) -> None:
    """`path` is a folder that can be written, or one can be made there."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    if not existing.is_dir():
        raise UserError(f"run directory {path}: {existing} is no folder; choose another run.name")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"run directory {path}: {existing} cannot be written; set run.root")


def read_run_config(path: Path) -> TrainConfig:
    """The config of a run; keys that are younger than the run have their defaults.

    Args:
        path: its `config.yaml`.

    Raises:
        UserError: the file is damaged, or of another version of cpn.
    """
    try:
        return validate_plain(_read_config(path), TrainConfig)
    except ConfigError as error:
        told = "; ".join(str(problem) for problem in error.problems)
        raise UserError(f"{path} is of another version of cpn: {told}") from error


def _check_same_config(path: Path, config: TrainingConfig) -> None:
    """A key that is younger than the run, and has its default, changes nothing."""
    raw = _read_config(path)
    with suppress(ConfigError):  # what cannot be used any more differs, and is told
        raw = validate_plain(raw, type(config)).model_dump(mode="json")
    before = flatten(raw)
    now = flatten(config.model_dump(mode="json"))
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


def _read_config(path: Path) -> dict[str, Any]:
    problem = "it is no mapping"
    try:
        text = path.read_text(encoding="utf-8")
        refuse_yaml_markup(text)
        before = yaml.safe_load(text)
        if isinstance(before, dict):
            return before
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        problem = " ".join(str(error).split())
    raise UserError(
        f"{path} is damaged, so nothing can be resumed ({problem}); choose another run.name or use "
        "run.if_exists=overwrite to delete this run"
    )


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys instead of nested ones."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
