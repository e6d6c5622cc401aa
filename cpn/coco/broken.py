"""What becomes of broken records: the first one is an error, or all are left out and counted."""

from collections import Counter

from cpn.errors import UserError


class BrokenRecords:
    """Told of every record that breaks a rule; the rules themselves are the same in both cases.

    Args:
        skip: count what the caller leaves out, instead of raising an error.

    Attributes:
        counts: how many records were left out, by reason.
        first: the message for the first of them, by reason.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}

    def found(self, reason: str, message: str, *, count: int = 1) -> None:
        """Some records break a rule.

        Args:
            reason: a few words, the same for all that break the rule.
            message: one line on the first of them: file, id, field, value, what to do.
            count: how many.

        Raises:
            UserError: the message, unless broken records are to be left out.
        """
        if not self.skip:
            raise UserError(message)
        self.counts[reason] += count
        self.first.setdefault(reason, message)
