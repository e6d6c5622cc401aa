"""What a study has to do: its runs, and the trainings that several of them may share."""

import hashlib
import json
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cpn.config.schema import TrainingConfig
from cpn.config.study_schema import OWN_KEYS, StudyConfig, VariantConfig
from cpn.config.validation import ConfigError, Problem
from cpn.errors import UserError

Compose = Callable[[Sequence[str]], TrainingConfig]

# What is for the study itself on the command line of one: first words of the keys.
STUDY_KEYS = ("study", "detector_study", "ablation", "out", "dry_run")
# What changes neither the weights nor the figures.
IDLE_KEYS = {
    "data": ("workers", "cache_copies", "cache_gib", "on_error", "max_skipped"),
    "engine": ("device", "log_every", "timeout_seconds", "save_every_steps", "save_every_minutes"),
}


@dataclass(frozen=True)
class Run:
    """A variant with a seed.

    Attributes:
        variant: its name.
        seed: of the training.
        training: how its network is trained, what only its use needs as all variants share it.
        use: how it is evaluated.
        folder: of a training that exists already; None: the study's own, by its id.
    """

    variant: str
    seed: int
    training: TrainingConfig
    use: TrainingConfig
    folder: Path | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What tells the runs of a study apart."""
        return self.variant, self.seed

    @property
    def timed(self) -> tuple[str, str]:
        """What tells its cost from others: variant and configuration, whatever the seed."""
        return self.variant, fingerprint(self.use.model_copy(update={"seed": 0}))

    @property
    def training_id(self) -> str:
        """Equal for runs, of any study, whose networks come out the same."""
        return fingerprint(self.training)

    @property
    def use_id(self) -> str:
        """Equal for runs that come to the same figures."""
        return fingerprint(self.use)


@dataclass(frozen=True)
class Variant:
    """A variant whose overrides have been composed.

    Attributes:
        name: in the study.
        settings: what the study says of it.
        runs: by seed, in the study's order.
    """

    name: str
    settings: VariantConfig
    runs: Mapping[int, Run]

    @property
    def first(self) -> Run:
        """For what does not depend on the seed, such as its cost."""
        return next(iter(self.runs.values()))


def chosen_variants(study: StudyConfig) -> dict[str, VariantConfig]:
    """The variants to train by name, the baseline among them, in the order of the file."""
    wanted = set(study.only or study.variants) | {study.baseline}
    return {name: variant for name, variant in study.variants.items() if name in wanted}


def plan_variants(
    study: StudyConfig,
    given: Sequence[str],
    compose: Compose,
    *,
    use_keys: Collection[str],
    epochs: Mapping[str, int],
) -> dict[str, Variant]:
    """Composes every variant with every seed, so that nothing wrong is found out later.

    Args:
        study: variants, seeds.
        given: what all variants share, as on the command line.
        compose: the training config that overrides make.
        use_keys: see `Subject.use_keys`.
        epochs: by variant's name, where a budget allows fewer than the config asks for.

    Raises:
        ConfigError: with every problem of every variant.
    """
    shared = shared_overrides(given, STUDY_KEYS)
    problems: list[Problem] = []
    variants = {}
    for name, settings in chosen_variants(study).items():
        where = f"study.variants.{name}.overrides"
        cut = [f"engine.epochs={epochs[name]}"] if name in epochs else []
        try:
            require_free(settings.overrides)
            overrides = [*settings.overrides, *cut]
            runs = compose_runs(name, study.seeds, shared, overrides, compose, use_keys=use_keys)
            variants[name] = Variant(name, settings, runs)
        except ConfigError as error:
            problems += [Problem(where, str(problem)) for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return variants


def require_distinct(variants: Iterable[Variant]) -> None:
    """Refuses variants that come to the same figures.

    Raises:
        UserError: two variants are one.
    """
    known: dict[str, str] = {}
    for variant in variants:
        other = known.setdefault(variant.first.use_id, variant.name)
        if other != variant.name:
            raise UserError(
                f"study.variants: {other} and {variant.name} are the same configuration; what is "
                "given on the command line may set what they vary"
            )


def require_comparable(variants: Iterable[Variant]) -> None:
    """Refuses variants that are evaluated on different people.

    Raises:
        UserError: with the key that differs.
    """
    first, *others = (variant.first.use.data for variant in variants)
    for other in others:
        for key in ("val", "sigmas"):
            if getattr(other, key) != getattr(first, key):
                raise UserError(
                    f"study.variants: data.{key} differs between variants, which can be compared "
                    "on the same people only; give it for all of them on the command line"
                )


def fingerprint(config: TrainingConfig) -> str:
    """Twelve hexadecimal digits of what decides the outcome of a config."""
    # A key that is younger than a study, and has its default, leaves the study's ids as they are.
    values: dict[str, Any] = config.model_dump(
        mode="json", exclude={"run": True}, exclude_defaults=True
    )
    for group, keys in IDLE_KEYS.items():
        values[group] = {key: value for key, value in values[group].items() if key not in keys}
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def shared_overrides(given: Sequence[str], own: Container[str]) -> list[str]:
    """What was given for the trainings.

    Args:
        given: on the command line.
        own: first words of the keys that are for the study or the search itself.

    Raises:
        ConfigError: a key is given that the study or the search decides.
    """
    kept = [text for text in given if key_of(text).split(".")[0] not in own]
    require_free(kept)
    return kept


def require_free(overrides: Iterable[str]) -> None:
    """Refuses keys that a study or a search decides for each of its runs.

    Raises:
        ConfigError: with the first of them.
    """
    for text in overrides:
        if key_of(text).split(".")[0] in OWN_KEYS:
            what = "not here: studies and searches set seeds and folders; study.seeds=[0,1] or "
            raise ConfigError([Problem(text, f"{what}search.seed=1, out=")])


def compose_runs(
    name: str,
    seeds: Iterable[int],
    shared: list[str],
    overrides: list[str],
    compose: Compose,
    *,
    use_keys: Collection[str],
) -> dict[int, Run]:
    """The runs of one combination of overrides.

    Args:
        name: of the variant.
        seeds: one run each.
        shared: overrides of all variants; the variant's own count more.
        overrides: of the variant.
        compose: the training config that overrides make.
        use_keys: see `Subject.use_keys`.

    Raises:
        ConfigError: with every problem.
    """
    for_training = [text for text in overrides if not _is_within(key_of(text), use_keys)]
    training = use = compose(_merged(shared, overrides))
    if for_training != overrides:
        training = compose(_merged(shared, for_training))
    return {
        seed: Run(
            name,
            seed,
            training.model_copy(update={"seed": seed}),
            use.model_copy(update={"seed": seed}),
        )
        for seed in seeds
    }


def _is_within(key: str, groups: Iterable[str]) -> bool:
    return any(f"{key}.".startswith(f"{group}.") for group in groups)


def _merged(shared: Sequence[str], own: Sequence[str]) -> list[str]:
    """A group may be chosen once only: the variant's choice counts."""
    chosen = {key_of(text) for text in own}
    return [*(text for text in shared if key_of(text) not in chosen), *own]


def key_of(override: str) -> str:
    """What an override sets."""
    return override.partition("=")[0].strip().lstrip("+~")
