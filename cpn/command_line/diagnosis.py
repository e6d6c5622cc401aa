"""Why a configuration does not compose: all that is wrong with its overrides, told at once."""

from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel
from yaml import YAMLError

from cpn.command_line.composed import one_line_of, validate
from cpn.config.validation import ConfigError, Problem, did_you_mean

# What Hydra, OmegaConf and YAML raise while a configuration is composed.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, YAMLError, ValueError)


class Diagnosis:
    """Why a configuration does not compose: every override is looked at, not only the first."""

    def __init__(
        self, folders: Sequence[Path], name: str, schema: type[BaseModel], *, multirun: bool
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
        return ConfigError(self._problems or [Problem("", one_line_of(error))])

    def _look_at(self, text: str) -> str | None:
        """Note what is wrong with one override; else make it fit for a forgiving composition."""
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            self._problems.append(Problem(text, f"cannot be read: {one_line_of(error)}"))
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
        except COMPOSITION_ERRORS:
            return None

    def _composes_alone(self, text: str) -> bool:
        try:
            self._composed([text])
        except COMPOSITION_ERRORS as error:
            self._problems.append(Problem(text, one_line_of(error)))
            return False
        return True

    def _composed(self, overrides: list[str]) -> DictConfig:
        if GlobalHydra.instance().is_initialized():  # inside a running script, with its folders
            return hydra.compose(self._name, overrides)
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
