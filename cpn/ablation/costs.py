"""What a variant was measured to cost, kept so that it is measured once."""

from pathlib import Path
from typing import Self

import msgspec

from cpn.ablation.budget import Pace
from cpn.ablation.outcome import Cost
from cpn.errors import UserError, first_line
from cpn.files.atomic import write_json


class VariantCost(msgspec.Struct, frozen=True):
    """A file of a study's folder `costs`.

    Attributes:
        cost: what the table shows.
        pace: what budgets and estimates are made of.
        device: where it was measured.
    """

    cost: Cost
    pace: Pace
    device: str

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """
        write_json(path, msgspec.to_builtins(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            UserError: it is damaged.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} is damaged ({first_line(error)}); delete it, and it is measured again"
            ) from error
