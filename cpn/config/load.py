"""From the command line to a checked configuration: the one place that knows Hydra.

A script decorates its task with `script`. Hydra composes `configs/`, the schema checks, and
whatever is wrong comes out on stderr, all of it at once, with exit code 2 and no traceback.
"""

import functools
import inspect
import logging
import os
import re
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any, NoReturn, TypeVar

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from yaml import YAMLError

from cpn.config.allowed import Path, dotted
from cpn.config.guard import refuse_hostile_yaml, refused_option, refused_override
from cpn.config.sweep import Sweep
from cpn.config.validation import ConfigError, Problem, did_you_mean, validate_plain
from cpn.errors import UserError, error_text
from cpn.interruption import EXIT_CODE, Interrupted

T = TypeVar("T", bound=BaseModel)

# What Hydra, OmegaConf and YAML raise while a configuration is composed.
_COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)

_NO_VALUE = "no value given"


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
                _leave(error)
            except KeyboardInterrupt:
                sys.stderr.write("interrupted\n")
                raise SystemExit(130) from None

        return main

    return decorate


def validate(config: DictConfig | Mapping[str, Any], schema: type[T]) -> T:
    """Resolve a composed configuration and check it against its schema.

    `${other.key}` is followed; resolvers such as `${oc.env:...}` are refused, because what they
    read would be saved with every checkpoint.

    Raises:
        ConfigError: With every problem: dotted path, value given, what is allowed, nearest key.
    """
    if not isinstance(config, DictConfig):
        return validate_plain(config, schema)
    problems: list[Problem] = []
    raw = OmegaConf.to_container(config, resolve=False)
    plain = _resolve(raw, config, (), problems)
    try:
        checked = validate_plain(plain, schema)
    except ConfigError as error:
        raise ConfigError(_merged(problems, error.problems)) from None
    if problems:
        raise ConfigError(problems)
    return checked


def configure_logging() -> None:
    """Send the program's own messages to stderr as plain lines, warnings marked as such."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _PlainFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return text if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {text}"


def _run(
    task: Callable[[T], object], configs: FilePath, name: str, schema: type[T], *, tabulated: bool
) -> None:
    started = False
    sweep = Sweep()

    @functools.wraps(task)
    def job(config: DictConfig) -> object:
        nonlocal started
        started = True
        _number_run(config)
        try:
            if not (tabulated and _is_multirun()):
                return task(validate(config, schema))
            state = HydraConfig.get()
            config.out = sweep.begin(config.out, state.job.num, FilePath(state.sweep.dir))
            return sweep.run(list(state.overrides.task), lambda: task(validate(config, schema)))
        except (UserError, OSError) as error:
            # Hydra would print a line of its own before passing the error on.
            _leave(error)
        except Interrupted as interrupted:
            sys.stderr.write(f"{interrupted}; the same command with run.if_exists=resume goes on\n")
            raise SystemExit(EXIT_CODE) from None

    arguments = get_args_parser().parse_args()
    _refuse_code(arguments, configs)
    configure_logging()
    # Hydra then raises what goes wrong instead of printing it.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        hydra.main(version_base="1.3", config_path=str(configs), config_name=name)(job)()
    except _COMPOSITION_ERRORS as error:
        if started:
            raise
        folders = [configs, *([FilePath(arguments.config_dir)] if arguments.config_dir else [])]
        name = arguments.config_name or name
        diagnosis = _Diagnosis(folders, name, schema, multirun=arguments.multirun)
        raise diagnosis.explain(arguments.overrides, error) from None
    if not sweep.finish():
        raise SystemExit(2)


def _leave(error: Exception) -> NoReturn:
    if isinstance(error, BrokenPipeError):
        # The reader has gone, as in `... --help | head`: nobody is left to tell anything.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None
    sys.stderr.write(f"error: {error_text(error)}\n")
    raise SystemExit(2) from None


def _number_run(config: DictConfig) -> None:
    """Under --multirun every job gets a run directory of its own: `<run.name>_<job number>`."""
    name = OmegaConf.select(config, "run.name", default=None)
    if _is_multirun() and isinstance(name, str):
        config.run.name = f"{name}_{HydraConfig.get().job.num}"


def _is_multirun() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)


def _refuse_code(arguments: Namespace, configs: FilePath) -> None:
    """Keep out what could name code to run, before anything is composed."""
    problems = [refused_override(text) for text in arguments.overrides]
    folders = [configs, *([FilePath(arguments.config_dir)] if arguments.config_dir else [])]
    problems += [
        refused_option(text) for text in arguments.overrides if _is_of_group(text, folders)
    ]
    if arguments.experimental_rerun is not None:
        problems.append(Problem("--experimental-rerun", "not offered: it unpickles the file"))
    if arguments.config_path is not None:
        what = "not offered: --config-dir takes a folder, and its files are looked through"
        problems.append(Problem("--config-path", what))
    name = arguments.config_name
    if name is not None and not re.fullmatch(r"[\w-]+(\.yaml)?", name):
        problems.append(Problem("--config-name", f"got {name}, allowed: a file's name in configs/"))
    refused = [problem for problem in problems if problem is not None]
    if refused:
        raise ConfigError(refused)
    if arguments.config_dir is not None:
        refuse_hostile_yaml(FilePath(arguments.config_dir))


def _is_of_group(override: str, folders: Sequence[FilePath]) -> bool:
    """Whether an override chooses an option, Hydra's own groups included."""
    group = override.partition("=")[0].lstrip("+~").partition("@")[0]
    return "/" in group or any((folder / group).is_dir() for folder in folders)


def _resolve(raw: Any, node: Any, path: Path, problems: list[Problem]) -> Any:  # noqa: ANN401
    """Copy `node` as plain values; what has none is left out and noted in `problems`."""
    if not isinstance(raw, dict | list):
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    plain: dict[str | int, Any] = {}
    for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
        name = key if isinstance(raw, list) else str(key)
        problem = _without_value(value, node, key, dotted((*path, name)))
        if problem is None:
            plain[name] = _resolve(value, node[key], (*path, name), problems)
        else:
            problems.append(problem)
    return plain if isinstance(raw, dict) else list(plain.values())


def _without_value(raw: object, node: Any, key: Any, where: str) -> Problem | None:  # noqa: ANN401
    if raw == "???":
        return Problem(where, _NO_VALUE)
    if isinstance(raw, str) and ":" in raw.partition("${")[2]:
        what = f"{raw} is not read: write the value, or refer to another key as ${{other.key}}"
        return Problem(where, what)
    try:
        node[key]
    except OmegaConfBaseException as error:
        return Problem(where, f"{raw} cannot be followed: {_one_line(error)}")
    return None


def _merged(composed: Sequence[Problem], checked: Sequence[Problem]) -> list[Problem]:
    """Tell of each key once; of one without a value, the schema knows what is allowed."""
    known = {problem.where: problem for problem in checked}
    for problem in composed:
        if problem.what != _NO_VALUE or problem.where not in known:
            known[problem.where] = problem
    return list(known.values())


class _Diagnosis:
    """Why a configuration does not compose: every override is looked at, not only the first."""

    def __init__(
        self, folders: Sequence[FilePath], name: str, schema: type[BaseModel], *, multirun: bool
    ) -> None:
        self._folders, self._name, self._schema = folders, name, schema
        self._multirun = multirun
        self._problems: list[Problem] = []

    def explain(self, overrides: Sequence[str], error: Exception) -> ConfigError:
        """List all problems of these overrides; `error` is what Hydra said of the first."""
        kept = [text for text in (self._look_at(each) for each in overrides) if text]
        config = self._compose(kept)
        if config is None:
            kept = [text for text in kept if self._composes_alone(text)]
            config = self._compose(kept)
        if config is not None:
            self._check(config)
        return ConfigError(self._problems or [Problem("", _one_line(error))])

    def _look_at(self, text: str) -> str | None:
        """Note what is wrong with one override; else make it fit for a forgiving composition."""
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            self._problems.append(Problem(text, f"cannot be read: {_one_line(error)}"))
            return None
        if override.is_sweep_override() and not self._multirun:
            what = "several values need --multirun; a list is written key=[1,2]"
            self._problems.append(Problem(text, what))
            return None
        key = override.key_or_group
        values = _values(override)
        options = self._options(key)
        if options:
            wrong = [value for value in values if value not in (*options, "null")]
            self._problems += [_no_such_option(key, value, options) for value in wrong]
            return None if wrong else f"{override.get_key_element()}={values[0]}"
        if self._is_misspelt_group(key):
            return None
        plain = not (override.is_delete() or override.is_hydra_override() or text.startswith("+"))
        # `++` adds what is unknown, so that the schema can say what is near.
        return f"++{key}={values[0]}" if plain else text

    def _options(self, group: str) -> list[str]:
        files = [file for folder in self._folders for file in (folder / group).glob("*.yaml")]
        return sorted({file.stem for file in files})

    def _is_misspelt_group(self, key: str) -> bool:
        fields = list(self._schema.model_fields)
        groups = {path.name for folder in self._folders for path in folder.iterdir()}
        groups = {name for name in groups if self._options(name)} - set(fields)
        near = did_you_mean(key, [*fields, *groups])
        if near not in groups:
            return False
        what = f"unknown key, did you mean {near}=<one of {', '.join(self._options(near))}>?"
        self._problems.append(Problem(key, what))
        return True

    def _compose(self, overrides: list[str]) -> DictConfig | None:
        try:
            return self._composed(overrides)
        except _COMPOSITION_ERRORS:
            return None

    def _composes_alone(self, text: str) -> bool:
        try:
            self._composed([text])
        except _COMPOSITION_ERRORS as error:
            self._problems.append(Problem(text, _one_line(error)))
            return False
        return True

    def _composed(self, overrides: list[str]) -> DictConfig:
        main, *more = (str(folder.absolute()) for folder in self._folders)
        if more:
            overrides = [*overrides, f"hydra.searchpath=[{','.join(more)}]"]
        with hydra.initialize_config_dir(main, version_base="1.3"):
            return hydra.compose(self._name, overrides)

    def _check(self, config: DictConfig) -> None:
        try:
            validate(config, self._schema)
        except ConfigError as error:
            self._problems += error.problems


def _values(override: Override) -> list[str]:
    """Write the value, or each of the values that --multirun would go through."""
    if override.is_sweep_override() and override.is_discrete_sweep():
        return [str(value) for value in override.sweep_string_iterator()]
    return [override.get_value_element_as_str()]


def _no_such_option(group: str, given: str, options: Sequence[str]) -> Problem:
    near = did_you_mean(given, options)
    hint = f", did you mean {group}={near}?" if near else "."
    return Problem(group, f"no option {given}{hint} Options: {', '.join(options)}")


def _one_line(error: Exception) -> str:
    """Join an error's lines and its cause's, without Hydra's advice to add unknown keys."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else ""
    text = " ".join(f"{error} {cause}".split()).partition(" To append to your ")[0]
    return text or type(error).__name__
