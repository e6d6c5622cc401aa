"""What the leading process tells a working one: a JSON file, named on its command line."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import Field, SerializeAsAny

from cpn.config.network_schema import PositiveInt, Strict
from cpn.config.schema import TrainingConfig
from cpn.config.validation import validate_plain
from cpn.errors import UserError
from cpn.files.atomic import write_atomically
from cpn.process.interruption import EXIT_CODE, Interrupted, die_with_parent, listen_for_stop
from cpn.process.program import configure_logging, leave

OrderT = TypeVar("OrderT", bound=Strict)
# Whoever leads writes whatever config it has; a working process reads that of its subject.
ConfigT = TypeVar("ConfigT", bound=TrainingConfig)


class UseOrder(Strict, Generic[ConfigT]):
    """Evaluate the trained network so, and leave the figures there."""

    use: SerializeAsAny[ConfigT]
    identity: str = Field(description="of the configuration, kept with the figures")
    folder: str


class TrainingOrder(Strict, Generic[ConfigT]):
    """Train once, or go on, or take what is there; then evaluate."""

    training: SerializeAsAny[ConfigT]
    uses: list[UseOrder[ConfigT]]
    resamples: PositiveInt


class TimingOrder(Strict, Generic[ConfigT]):
    """Measure what a variant costs."""

    config: SerializeAsAny[ConfigT]
    steps: PositiveInt
    out: str


def write_order(order: Strict, path: Path) -> None:
    """Writes the file that `obey` reads."""
    write_atomically(path, order.model_dump_json().encode())


def obey(schema: type[OrderT], task: Callable[[OrderT], None]) -> None:
    """The program of a working process: reads its order and does it.

    It dies with the process that started it, keeps its state when asked to stop, and leaves with
    the exit codes of a script. Its arguments are the order's file and the id of that process, which
    may have died while this one imported torch.
    """
    die_with_parent(int(sys.argv[2]) if len(sys.argv) > 2 else None)
    listen_for_stop()
    configure_logging()
    try:
        task(validate_plain(json.loads(Path(sys.argv[1]).read_bytes()), schema))
    except (UserError, OSError) as error:
        leave(error)
    except Interrupted as interrupted:
        sys.stderr.write(f"{interrupted}\n")
        raise SystemExit(EXIT_CODE) from None
