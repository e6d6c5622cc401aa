"""One thing that a check has found."""

from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from cpn.errors import UserError, count_records, os_error_text

Severity = Literal["error", "warning", "note"]
# Of the people: large sets have a few of everything.
RARE = 0.01


@dataclass(frozen=True)
class Finding:
    """Something about a data set that a person should know.

    Attributes:
        severity: error: training or evaluation refuses it, or cannot work with it; warning: it
            costs accuracy or means a mistake; note: good to know.
        what: what is the case, to follow the records or to stand alone.
        advice: what to do about it, or what becomes of it.
        ids: of all records concerned; none where it is about the whole file.
        unit: what the ids are of.
    """

    severity: Severity
    what: str
    advice: str
    ids: tuple[int | str, ...] = ()
    unit: str = "annotation"

    @classmethod
    def of_error(cls, error: UserError | OSError, advice: str, *, source: str = "") -> Self:
        """An error's line, which says what is the case and, after a semicolon, what to do.

        Args:
            error: that training would end with.
            advice: what to do where the error does not say it.
            source: the file, which is left out where the line begins with it.
        """
        text = os_error_text(error) if isinstance(error, OSError) else str(error)
        what, _, own_advice = text.removeprefix(f"{source}: ").partition("; ")
        return cls("error", what, own_advice or advice)

    @classmethod
    def where(
        cls,
        mask: npt.ArrayLike,
        ids: npt.NDArray[Any],
        severity: Severity,
        what: str,
        advice: str,
    ) -> list[Self]:
        """A finding about the annotations where the mask is true; none if that is nowhere.

        Args:
            mask: (N,) bool.
            ids: (N,) annotation ids.
            severity: see the class, as the others.
            what: to follow '3 annotations (ids …): '.
            advice: what to do.
        """
        found = tuple(ids[np.asarray(mask, dtype=bool)].tolist())
        return [cls(severity, what, advice, found)] if found else []

    @classmethod
    def where_often(
        cls, mask: npt.ArrayLike, ids: npt.NDArray[Any], what: str, advice: str
    ) -> list[Self]:
        """As `where`: a warning, but a note where it concerns hardly anybody (`RARE`)."""
        often = len(ids) and np.mean(np.asarray(mask, dtype=bool)) > RARE
        return cls.where(mask, ids, "warning" if often else "note", what, advice)

    @property
    def text(self) -> str:
        """One line, without the severity: how many, the first five ids, what, and what to do."""
        records = f"{count_records(self.unit, self.ids)}: " if self.ids else ""
        return f"{records}{self.what}; {self.advice}"

    def to_dict(self) -> dict[str, object]:
        """For JSON, with all ids."""
        return {
            "severity": self.severity,
            "what": self.what,
            "advice": self.advice,
            "unit": self.unit,
            "count": len(self.ids),
            "ids": list(self.ids),
        }
