"""What README and the guides tell a reader to type."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "data/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_SHELL = {"", "bash", "sh"}
_STARTS = ("python ", "torchrun ", "make ", "pip ")
# A word that the shell would end a command at.
_ENDS = {"&&", "||", ";", "|", ">", "#"}


@dataclass(frozen=True)
class Command:
    """One command line of a page.

    Attributes:
        page: where it stands, relative to the checkout.
        words: as the shell would split it, without comments and redirections.
    """

    page: str
    words: tuple[str, ...]

    @property
    def script(self) -> str | None:
        """`train` of `python scripts/train.py` and of `torchrun … scripts/train.py`."""
        found = [word for word in self.words if word.startswith("scripts/")]
        return found[0].removeprefix("scripts/").removesuffix(".py") if found else None

    @property
    def arguments(self) -> tuple[str, ...]:
        """What follows the script."""
        place = next(i for i, word in enumerate(self.words) if word.startswith("scripts/"))
        return self.words[place + 1 :]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands_of(page: Path, section: str = "") -> list[Command]:
    """Those of shell blocks, and of inline code that begins as they do."""
    text = page.read_text()
    if section:
        text = text.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    blocks = [code for language, code in _FENCE.findall(text) if language in _SHELL]
    lines = [line for block in blocks for line in _logical_lines(block)]
    inline = (" ".join(code.split()) for code in _INLINE.findall(_FENCE.sub("", text)))
    lines += [code for code in inline if code.startswith(_STARTS)]
    name = str(page.relative_to(ROOT))
    return [Command(name, words) for line in lines if (words := _words(line))]


def shell_lines(page: Path) -> list[str]:
    """The logical lines of the blocks that are marked as shell."""
    blocks = [code for language, code in _FENCE.findall(page.read_text()) if language == "bash"]
    return [line for block in blocks for line in _logical_lines(block)]


def inline_code(page: Path) -> list[str]:
    """What stands between backticks outside of blocks."""
    return _INLINE.findall(_FENCE.sub("", page.read_text()))


def links_of(page: Path) -> list[str]:
    """The targets of links and pictures that are no web addresses."""
    text = re.sub(r"`[^`]*`", "", _FENCE.sub("", page.read_text()))
    found = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in found if "://" not in target]


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def _logical_lines(block: str) -> Iterator[str]:
    for line in block.replace("\\\n", " ").splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield " ".join(line.split())


def _words(line: str) -> tuple[str, ...]:
    """The words of a command that a reader is to type; () of any other line."""
    line = line.removeprefix("srun ")
    if not line.startswith(_STARTS):
        return ()
    words = shlex.split(line, comments=True)
    end = next((i for i, word in enumerate(words) if word in _ENDS), len(words))
    return tuple(re.sub(r"\$[A-Z_]+", "0", word) for word in words[:end])
