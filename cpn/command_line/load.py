"""From the command line to a checked configuration: the one place that knows Hydra.

A script decorates its task with `script`. Hydra composes `configs/`, the schema checks, and
whatever is wrong comes out on stderr, all of it at once, with exit code 2 and no traceback.
"""

import functools
import inspect
import os
import re
import signal
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Generic, TypeVar

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from pydantic import BaseModel

from cpn.command_line.composed import validate
from cpn.command_line.diagnosis import COMPOSITION_ERRORS, Diagnosis
from cpn.command_line.launched import ARRIVED, JobEnd, missing_plugin, require_all_well
from cpn.command_line.sweep import Sweep
from cpn.config.guard import refuse_hostile_yaml, refused_option, refused_override
from cpn.config.validation import ConfigError, Problem
from cpn.errors import UserError, error_text, first_line
from cpn.process.interruption import EXIT_CODE, STOP, Interrupted
from cpn.process.program import configure_logging, leave

T = TypeVar("T", bound=BaseModel)


def script(
    config_name: str, schema: type[T], *, tabulated: bool = False
) -> Callable[[Callable[[T], object]], Callable[[], None]]:
    """Make a command-line program of a task, with `configs/<config_name>.yaml` beside its folder.

    Args:
        config_name: The primary config in `../configs`, seen from the script's file.
        schema: What the composed configuration must be; the task is called with an instance.
        tabulated: Under --multirun every combination writes an `out` of its own, the numbers that
            the task returns become one table, and one that fails does not keep the others back.

    Returns:
        A decorator. The decorated function takes no argument and reads `sys.argv`. It leaves with
        exit code 2 on a problem that the user can mend, 130 on Ctrl-C, and 75 when it stopped as a
        scheduler's signal asked it to.
    """

    def decorate(task: Callable[[T], object]) -> Callable[[], None]:
        configs = FilePath(inspect.getfile(task)).resolve().parents[1] / "configs"

        @functools.wraps(task)
        def main() -> None:
            try:
                _run(task, configs, config_name, schema, tabulated=tabulated)
            except (UserError, OSError) as error:
                leave(error)
            except KeyboardInterrupt:
                sys.stderr.write("interrupted\n")
                raise SystemExit(130) from None

        return main

    return decorate


class Composer(Generic[T]):
    """Composes a primary config again and again inside a running script, with its folders.

    Args:
        name: of the primary config.
        schema: what a composition must be.
    """

    def __init__(self, name: str, schema: type[T]) -> None:
        self._name, self._schema = name, schema
        sources = HydraConfig.get().runtime.config_sources
        self._folders = [FilePath(source.path) for source in sources if source.schema == "file"]

    @property
    def given(self) -> list[str]:
        """The overrides that the script was called with; in a multirun, those of this job."""
        return list(HydraConfig.get().overrides.task)

    def __call__(self, overrides: Sequence[str]) -> T:
        """The configuration with these overrides and no others.

        Raises:
            ConfigError: with every problem.
        """
        if refused := _refused(overrides, self._folders):
            raise ConfigError(refused)
        try:
            config = hydra.compose(self._name, list(overrides))
        except COMPOSITION_ERRORS as error:
            diagnosis = Diagnosis(self._folders, self._name, self._schema, multirun=False)
            raise diagnosis.explain(overrides, error) from None
        return validate(config, self._schema)


def _run(
    task: Callable[[T], object], configs: FilePath, name: str, schema: type[T], *, tabulated: bool
) -> None:
    sweep = Sweep()
    job = _Job(task, schema, sweep if tabulated else None)

    @functools.wraps(task)
    def called(config: DictConfig) -> object:
        return job(config)

    arguments = get_args_parser().parse_args()
    folders = [configs, *([FilePath(arguments.config_dir)] if arguments.config_dir else [])]
    _refuse_code(arguments, folders)
    configure_logging()
    if arguments.help:
        sys.argv += _choices_for_help(configs, arguments.config_name or name, arguments.overrides)
    # Hydra then raises what goes wrong instead of printing it.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(configs), config_name=name)(called)()
    except RuntimeError as error:
        if job.is_launched and not _is_submitits(error):
            raise
        raise UserError(f"hydra/launcher: {_gist(error)}") from None
    except COMPOSITION_ERRORS as error:
        if job.started or job.is_launched:
            raise
        name = arguments.config_name or name
        diagnosis = Diagnosis(folders, name, schema, multirun=arguments.multirun)
        raise diagnosis.explain(arguments.overrides, error) from None
    _account([ARRIVED.pop(number) for number in sorted(ARRIVED)], sweep)


def _choices_for_help(configs: FilePath, name: str, overrides: Sequence[str]) -> list[str]:
    """An option of every group that a person must choose from: help is of a composition, too."""
    file = (configs / name).with_suffix(".yaml")
    document: Any = OmegaConf.to_container(OmegaConf.load(file)) if file.is_file() else {}
    entries = [entry for entry in document.get("defaults", []) if isinstance(entry, dict)]
    open_groups = [
        group for entry in entries for group, option in entry.items() if option == MISSING
    ]
    groups = [g for g in open_groups if not any(text.startswith(f"{g}=") for text in overrides)]
    return [f"{g}={min(file.stem for file in (configs / g).glob('*.yaml'))}" for g in groups]


def _account(ends: Sequence[JobEnd], sweep: Sweep) -> None:
    """Tells what became of a multirun, and of its jobs in other processes.

    Raises:
        UserError: some of them failed.
    """
    for end in ends:
        if end.table is not None:
            sweep.add(end.table, end.overrides, end.numbers, end.problem)
    well = sweep.finish()
    require_all_well(ends)
    if not well:
        raise SystemExit(2)
    if stopped := [end for end in ends if end.stopped]:
        for end in stopped:
            sys.stderr.write(f"job {end.number} ({' '.join(end.overrides)}): {end.problem}\n")
        raise SystemExit(EXIT_CODE)


class _Job(Generic[T]):
    """What Hydra calls with each composed configuration.

    A launcher may pickle it and have it called in another process, perhaps on another machine. What
    is wrong is told there, and comes back as a `JobEnd`.

    Attributes:
        started: it was called here.
        is_launched: it was pickled.
    """

    def __init__(self, task: Callable[[T], object], schema: type[T], sweep: Sweep | None) -> None:
        self._task, self._schema, self._sweep = task, schema, sweep
        self._is_elsewhere = self.started = self.is_launched = False

    def __getstate__(self) -> dict[str, Any]:
        self.is_launched = True
        return self.__dict__ | {"_is_elsewhere": True}

    def __call__(self, config: DictConfig) -> object:
        self.started = True
        _number_run(config)
        if self._is_elsewhere:
            return self._end(config)
        try:
            if self._sweep is None or not _is_multirun():
                return self._task(validate(config, self._schema))
            _begin(config, self._sweep)
            overrides = list(HydraConfig.get().overrides.task)
            return self._sweep.run(overrides, lambda: self._task(validate(config, self._schema)))
        except (UserError, OSError) as error:
            # Hydra would print a line of its own before passing the error on.
            leave(error)
        except Interrupted as interrupted:
            sys.stderr.write(f"{interrupted}; {interrupted.advice}\n")
            raise SystemExit(EXIT_CODE) from None

    def _end(self, config: DictConfig) -> JobEnd:
        """Runs the job in the process that a launcher started."""
        configure_logging()
        requeue = signal.getsignal(signal.SIGUSR2)  # submitit's
        state = HydraConfig.get()
        end = JobEnd(state.job.num, tuple(state.overrides.task))
        try:
            if self._sweep is not None:
                _begin(config, self._sweep)
                end = replace(end, table=self._sweep.stem)
            found = self._task(validate(config, self._schema))
            return replace(end, numbers=found) if isinstance(found, Mapping) else end
        except (UserError, OSError) as error:
            sys.stderr.write(f"error: {error_text(error)}\n")
            return replace(end, problem=error_text(error))
        except Interrupted as interrupted:
            told = f"{interrupted}; {interrupted.advice}"
            sys.stderr.write(f"{told}\n")
            if STOP.signal == signal.SIGUSR2 and callable(requeue):
                # The job's time is up, its state is saved: submitit has it begun again.
                try:
                    requeue(signal.SIGUSR2, None)
                except RuntimeError as error:
                    told = f"{interrupted}; {first_line(error)} {interrupted.advice}"
            return replace(end, problem=told, stopped=True)
        except Exception:
            # A bug: its traceback does not travel.
            traceback.print_exc()
            raise


def _is_submitits(error: RuntimeError) -> bool:
    return type(error).__module__.partition(".")[0] == "submitit"


def _gist(error: RuntimeError) -> str:
    """What a launcher says, without the output of the job or of sbatch's script."""
    said = re.split(r"\n(?:No e|E)rror stream", str(error))[0]
    return " ".join(said.split())[:400]


def _begin(config: DictConfig, sweep: Sweep) -> None:
    """Every combination writes an `out` of its own."""
    state = HydraConfig.get()
    config.out = sweep.begin(config.out, state.job.num, FilePath(state.sweep.dir))


def _number_run(config: DictConfig) -> None:
    """Under --multirun every job gets a run directory of its own: `<run.name>_<job number>`."""
    name = OmegaConf.select(config, "run.name", default=None)
    if _is_multirun() and isinstance(name, str):
        config.run.name = f"{name}_{HydraConfig.get().job.num}"


def _is_multirun() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _refuse_code(arguments: Namespace, folders: Sequence[FilePath]) -> None:
    """Keep out what could name code to run, before anything is composed."""
    problems = _refused(arguments.overrides, folders)
    if arguments.experimental_rerun is not None:
        problems.append(Problem("--experimental-rerun", "not offered: it unpickles the file"))
    if arguments.config_path is not None:
        what = "not offered: --config-dir takes a folder, and its files are looked through"
        problems.append(Problem("--config-path", what))
    name = arguments.config_name
    if name is not None and not re.fullmatch(r"[\w-]+(\.yaml)?", name):
        problems.append(Problem("--config-name", f"got {name}, allowed: a file's name in configs/"))
    if problems:
        raise ConfigError(problems)
    if arguments.config_dir is not None:
        refuse_hostile_yaml(FilePath(arguments.config_dir))


def _refused(overrides: Sequence[str], folders: Sequence[FilePath]) -> list[Problem]:
    """What is wrong with overrides that could name code."""
    problems = [refused_override(text) or missing_plugin(text) for text in overrides]
    problems += [refused_option(text) for text in overrides if _is_of_group(text, folders)]
    return [problem for problem in problems if problem is not None]


def _is_of_group(override: str, folders: Sequence[FilePath]) -> bool:
    """Whether an override chooses an option, Hydra's own groups included."""
    group = override.partition("=")[0].lstrip("+~").partition("@")[0]
    return "/" in group or any((folder / group).is_dir() for folder in folders)
