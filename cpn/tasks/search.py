"""Searches the best combination of what studies vary, and of other keys."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from cpn.ablation.findings import Findings
from cpn.ablation.folders import StudyFolders
from cpn.ablation.plan import Run, compose_runs, require_free, shared_overrides
from cpn.ablation.space import Dimension, dimension_of_key, dimension_of_study, overrides_of
from cpn.ablation.trials import TrialBook
from cpn.config.search_schema import SearchConfig
from cpn.config.study_schema import AblateConfig, StudyConfig
from cpn.config.validation import ConfigError, Problem
from cpn.errors import UserError
from cpn.files.atomic import write_atomically
from cpn.tasks.ablate import Composer
from cpn.tasks.ablation.leader import places
from cpn.tasks.ablation.search_leader import SearchLeader
from cpn.tasks.ablation.subjects import POSES

logger = logging.getLogger(__name__)

OWN_KEYS = ("studies", "space", "trials", "out", "search")
ComposeStudy = Callable[[Sequence[str]], AblateConfig]
Plan = Callable[[Sequence[str]], Run]


def search(config: SearchConfig, compose: Composer, compose_study: ComposeStudy) -> Findings:
    """Trains combination after combination, as many as are asked for, and writes the table.

    Args:
        config: dimensions, and the training config that the combinations change.
        compose: makes the config of a combination.
        compose_study: makes the config of a study, of which only `study` is used.

    Raises:
        ConfigError: with every problem of every choice, before anything is trained.
        UserError: data or folder cannot be used, or no trial came to an AP.
        StudyInterrupted: it was asked to stop.
    """
    shared = shared_overrides(compose.given, OWN_KEYS)
    dimensions = _dimensions(config, compose_study)
    plan = _planner(config.search.seed, shared, compose)
    _require_valid(dimensions, plan)
    given = plan([])
    folders = StudyFolders(Path(config.out), config.search.name)
    book = _open_book(config, shared, given, dimensions, folders)

    def report() -> Findings:
        found = Findings(
            name=config.search.name,
            dimensions=[dimension.name for dimension in dimensions],
            trials=book.trials(),
            shared=shared,
            given_use=given.use_id,
            seed=config.search.seed,
            importances=book.importances(),
            wanted=config.trials,
            folder=str(folders.study),
            out=config.out,
        )
        write_findings(found, folders.study)
        return found

    environments = places(config.search.jobs, config.engine.device, config.trials)
    count = len(environments)
    logger.info("search %s: %d trials, %d at a time", folders.name, config.trials, count)
    SearchLeader(
        *(config.trials, config.search.seed, dimensions, plan, book, folders, POSES.worker, report)
    ).lead(environments, may_prune=config.search.pruner != "none")
    found = report()
    logger.info("\n%s\nwritten: %s", found.markdown(), folders.study)
    if not found.done:
        messages = [trial.message for trial in found.trials if trial.message]
        raise UserError(f"no trial came to an AP; {(messages or ['all were given up'])[0]}")
    return found


def write_findings(found: Findings, folder: Path) -> None:
    """Writes table.md, table.csv, and the study that confirms the best trials.

    Raises:
        OSError: one cannot be written; what was there is unchanged.
    """
    write_atomically(folder / "table.md", found.markdown().encode())
    write_atomically(folder / "table.csv", found.csv_text().encode())
    if (study := found.confirmation()) is not None:
        file = folder / "configs" / "study" / f"{found.confirmation_name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, study.encode())


def _dimensions(config: SearchConfig, compose_study: ComposeStudy) -> list[Dimension]:
    dimensions: list[Dimension] = []
    problems = []
    for number, name in enumerate(config.studies):
        try:
            study: StudyConfig = compose_study([f"study={name}"]).study
            dimensions.append(dimension_of_study(study, name))
        except ConfigError as error:
            problems += [Problem(f"studies[{number}]", str(each)) for each in error.problems]
    for key, dimension in (config.space or {}).items():
        if key in config.studies:
            problems.append(Problem(f"space.{key}", "a study of the same name is in studies"))
        dimensions.append(dimension_of_key(key, dimension))
    if problems:
        raise ConfigError(problems)
    return dimensions


def _planner(seed: int, shared: list[str], compose: Composer) -> Plan:
    """Composes a combination; the same one once, as samplers repeat themselves."""

    @cache
    def composed(overrides: tuple[str, ...]) -> Run:
        require_free(overrides)
        runs = compose_runs(
            "trial", [seed], shared, list(overrides), compose, use_keys=POSES.use_keys
        )
        return runs[seed]

    return lambda overrides: composed(tuple(overrides))


def _require_valid(dimensions: Sequence[Dimension], plan: Plan) -> None:
    """Composes every choice by itself: what is wrong alone is wrong in every combination."""
    problems = dict[tuple[str, str], Problem]()
    for dimension in dimensions:
        for value in dimension.samples:
            try:
                plan(overrides_of([dimension], {dimension.name: value}))
            except ConfigError as error:
                where = f"{dimension.name}={value}"
                for problem in error.problems:
                    told = Problem(where, str(problem))
                    problems.setdefault((dimension.name, problem.where), told)
    if problems:
        raise ConfigError(problems.values())


def _open_book(
    config: SearchConfig,
    shared: Sequence[str],
    given: Run,
    dimensions: Sequence[Dimension],
    folders: StudyFolders,
) -> TrialBook:
    book = TrialBook(
        folder=folders.study,
        dimensions=dimensions,
        seed=config.search.seed,
        pruner=config.search.pruner,
        epochs=config.engine.epochs,
    )
    identity: Mapping[str, object] = {
        "given": " ".join(shared) or "nothing",
        "configuration": given.use_id,
        "dimensions": {dimension.name: str(dimension) for dimension in dimensions},
        "search.seed": config.search.seed,
    }
    book.open(identity)
    return book
