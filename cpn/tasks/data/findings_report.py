"""How `check_data` tells what it found: in lines and a table, and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from cpn.data.inspection import Finding, KeypointShare, Severity

STYLES: Mapping[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True)
class SplitPart:
    """What is told of one split.

    Attributes:
        source: the annotation file.
        facts: figures in words, by topic.
        keypoints: shares; none if the file cannot be read.
        findings: what is wrong, and what is good to know.
    """

    source: str
    facts: Mapping[str, str]
    keypoints: Sequence[KeypointShare]
    findings: Sequence[Finding]


@dataclass(frozen=True)
class DataReport:
    """What is told of a data set.

    Attributes:
        splits: by name.
        together: what concerns both.
    """

    splits: Mapping[str, SplitPart]
    together: Sequence[Finding]

    def count(self, severity: Severity) -> int:
        """How many findings are that serious, in all."""
        findings = [*self.together, *(f for part in self.splits.values() for f in part.findings)]
        return sum(finding.severity == severity for finding in findings)

    @property
    def ready(self) -> bool:
        """Nothing stands against training."""
        return not self.count("error")

    @property
    def verdict(self) -> str:
        """'ready to train', or how many problems there are; with the number of warnings."""
        problems, warnings = self.count("error"), self.count("warning")
        told = _plural(warnings, "warning")
        if self.ready:
            return "ready to train" + (f", {told}" if warnings else "")
        return f"{_plural(problems, 'problem')}, {told}"

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "verdict": self.verdict,
            "ready": self.ready,
            "splits": {
                name: {
                    "annotations": part.source,
                    "facts": dict(part.facts),
                    "keypoints": [share._asdict() for share in part.keypoints],
                    "findings": [finding.to_dict() for finding in part.findings],
                }
                for name, part in self.splits.items()
            },
            "together": [finding.to_dict() for finding in self.together],
        }


def show_report(report: DataReport, console: Console) -> None:
    """Prints the report; the verdict is its last line."""
    for name, part in report.splits.items():
        _line(console, Text(f"{name}: {part.source}", style="bold"))
        for topic, text in part.facts.items():
            _line(console, Text(f"  {topic:<12} {text}"))
        _show_findings(console, part.findings)
    if report.together:
        _line(console, Text(f"{' and '.join(report.splits)}:", style="bold"))
        _show_findings(console, report.together)
    if any(part.keypoints for part in report.splits.values()):
        console.print(_keypoint_table(report.splits))
    _line(console, Text(f"verdict: {report.verdict}", style="bold"))


def _show_findings(console: Console, findings: Sequence[Finding]) -> None:
    order = list(STYLES)
    for finding in sorted(findings, key=lambda finding: order.index(finding.severity)):
        severity = (f"  {finding.severity}: ", STYLES[finding.severity])
        _line(console, Text.assemble(severity, finding.text))


def _line(console: Console, text: Text) -> None:
    console.print(text, soft_wrap=True)


def _keypoint_table(splits: Mapping[str, SplitPart]) -> Table:
    """One row per keypoint; of each split the share labelled and, of that, the share visible."""
    told = [name for name, part in splits.items() if part.keypoints]
    longest = max(len(share.name) for name in told for share in splits[name].keypoints)
    table = Table(Column("keypoint", min_width=longest), Column("sigma", min_width=5))
    rows: dict[str, list[str]] = {}
    for position, name in enumerate(told):
        table.add_column(f"{name} labelled", justify="right")
        table.add_column("visible of these", justify="right")
        for share in splits[name].keypoints:
            row = rows.setdefault(share.name, [_sigma(share), *["", ""] * len(told)])
            row[1 + 2 * position : 3 + 2 * position] = [
                f"{share.labelled:.0%}",
                f"{share.visible:.0%}",
            ]
    for keypoint, cells in rows.items():
        table.add_row(Text(keypoint), *cells)
    return table


def _sigma(share: KeypointShare) -> str:
    return "unknown" if share.sigma is None else f"{share.sigma:g}"


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
