"""One small report, and its page as a parser sees it."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from cpn.report.data import ReportData
from cpn.report.page import write_report
from tests.report.examples import small_report


class Page(HTMLParser):
    """Elements with their attributes, and the text by the section that it is in."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.scripts: list[str] = []
        self._section = ""
        self._raw = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["id"] or ""
        if tag in {"script", "style"}:
            self._raw = tag

    def handle_endtag(self, tag: str) -> None:
        if tag == self._raw:
            self._raw = ""

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.scripts.append(data)
        else:
            self.text[self._section] = self.text.get(self._section, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every element of that name."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    return small_report(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def report_file(report: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(report, path)
    return path


@pytest.fixture(scope="session")
def page(report_file: Path) -> Page:
    return Page(report_file)
