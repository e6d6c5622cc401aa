"""What a configuration from outside may not hold: names of code, and YAML made to hurt.

Hydra builds its own plugins and log handlers from `_target_` keys and dotted names, so overrides of
its settings and YAML files from elsewhere are let in by a list of what is allowed.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from cpn.config.validation import ConfigError, Problem

MAX_YAML_BYTES = 256 * 1024
MAX_YAML_DEPTH = 30  # PyYAML needs the square of it

_CODE_KEY = "_target_"
_HYDRA_KEY = re.compile(r"[+~]*hydra\b|[^=]*@[^=]*\bhydra\b")
_ALLOWED_HYDRA_KEY = re.compile(
    r"[+]*hydra(/(launcher|sweeper)=|\.(launcher|sweeper|sweep)\.|\.(mode|verbose)=)"
)
# Shell lines for sbatch, and a dotted name: code in other words. A control character could end
# one of the comment lines that tell sbatch its options.
_CODE_FOR_PLUGINS = re.compile(r"setup\b|custom_search_space\b|[^=]*=.*[\x00-\x1f]", re.DOTALL)
_PLUGIN_KEY = re.compile(r"[+~]*hydra\.(launcher|sweeper|sweep)\.")
_NAMES_HYDRA = re.compile(r"(^|[\s/@.])hydra($|[./@:])")
_HYDRA_PACKAGE = re.compile(r"@package\b.*\bhydra\b")
_WAY_OUT = re.compile(r"(^|[^\w.-])(\.\.($|[^\w.-])|/)")


def refused_override(text: str) -> Problem | None:
    """Say why a command-line override may not be used, or None when it may."""
    if _CODE_KEY in text:
        return Problem(text, f"{_CODE_KEY} is not accepted: nothing is built from a name")
    if _HYDRA_KEY.match(text) and not _ALLOWED_HYDRA_KEY.match(text):
        allowed = "hydra/launcher, hydra/sweeper, hydra.launcher.*, hydra.sweeper.*, hydra.sweep.*"
        return Problem(text, f"not accepted; of Hydra's own settings only {allowed}")
    plugin = _PLUGIN_KEY.match(text)
    if plugin and _CODE_FOR_PLUGINS.match(text, plugin.end()):
        return Problem(text, "not accepted: it is code; set the environment up before you submit")
    return None


def refused_option(group_override: str) -> Problem | None:
    """Say why an override of a group may not be used: its options are files in its own folder."""
    if _WAY_OUT.search(group_override.partition("=")[2]):
        return Problem(group_override, "an option is a file's name in the group's folder, no path")
    return None


def refuse_hostile_yaml(folder: Path) -> None:
    """Look through the YAML files of a folder given by `--config-dir` before Hydra reads them.

    Raises:
        ConfigError: If there is no such folder; else with one problem per file that is too large,
            uses anchors or tags, names code, or changes Hydra's settings.
    """
    if not folder.is_dir():
        raise ConfigError([Problem("--config-dir", f"there is no folder {folder}")])
    found = sorted(folder.rglob("*"))
    problems = [
        Problem(str(path), "a link to a folder, which is not looked through; copy the folder here")
        for path in found
        if path.is_symlink() and path.is_dir()
    ]
    for file in (path for path in found if path.name.endswith((".yaml", ".yml"))):
        reason = next(_reasons(file, folder), None)
        if reason is not None:
            problems.append(Problem(str(file), reason))
    if problems:
        raise ConfigError(problems)


def _reasons(file: Path, folder: Path) -> Iterator[str]:
    if "hydra" in file.relative_to(folder).parts:
        yield "Hydra's own settings are not read from here"
    size = file.stat().st_size
    if size > MAX_YAML_BYTES:
        yield f"{size} bytes, allowed: at most {MAX_YAML_BYTES}"
        return
    try:
        text = file.read_text("utf-8")
        yield from _reasons_in(text)
        if any(_WAY_OUT.search(name.lstrip("/")) for name in _defaults(yaml.safe_load(text))):
            yield "defaults may not lead out of the folder"
    except (UnicodeDecodeError, yaml.YAMLError, ValueError) as error:
        yield f"not YAML: {' '.join(str(error).split())}"


def _reasons_in(text: str) -> Iterator[str]:
    if _HYDRA_PACKAGE.search(text):
        yield "Hydra's own settings are not read from here"
    for event in _events(text):
        value = event.value if isinstance(event, yaml.ScalarEvent) else ""
        if problem := _markup_problem(event):
            yield problem
        elif _CODE_KEY in value:
            yield f"{_line(event)}: {_CODE_KEY} is not accepted: nothing is built from a name"
        elif _NAMES_HYDRA.search(value):
            yield f"{_line(event)}: Hydra's own settings are not read from here"


def refuse_yaml_markup(text: str) -> None:
    """Look through a YAML text for what makes it more than values, before it is loaded.

    Raises:
        YAMLError: it is too long, has anchors, aliases or tags, or is not YAML.
    """
    if len(text) > MAX_YAML_BYTES:
        raise yaml.YAMLError(f"{len(text)} characters, allowed: at most {MAX_YAML_BYTES}")
    for event in _events(text):
        if problem := _markup_problem(event):
            raise yaml.YAMLError(problem)


def _events(text: str) -> Iterator[yaml.Event]:
    """What a text consists of, up to where it is nested too deep; PyYAML's time is its square."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"nested deeper than {MAX_YAML_DEPTH} levels")
        yield event


def _markup_problem(event: yaml.Event) -> str:
    """Events, not loaded values: an alias is seen here before it can be multiplied."""
    if getattr(event, "anchor", None):
        return f"{_line(event)}: anchors and aliases are not accepted, write the value out"
    if getattr(event, "tag", None):
        return f"{_line(event)}: tags are not accepted, write a plain value"
    return ""


def _line(event: yaml.Event) -> str:
    return f"line {event.start_mark.line + 1}" if event.start_mark else "somewhere"


def _defaults(document: object) -> Iterator[str]:
    """The groups and options that a config file takes in, without the words before a group."""
    entries = document.get("defaults") if isinstance(document, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict):
            yield str(entry)
            continue
        for group, options in entry.items():
            yield from str(group).split()[-1:]
            yield from map(str, options if isinstance(options, list) else [options])
