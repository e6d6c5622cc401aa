"""The example studies, each with its page, which is written once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cpn.ablation.outcome import StudyOutcome
from cpn.ablation.page import write_study_page
from tests.ablation.examples import study

Make = Callable[[], StudyOutcome]


@pytest.fixture(scope="session")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], Path]:
    """By the function that makes a study, its page."""
    folder = tmp_path_factory.mktemp("studies")

    def written(make: Make) -> Path:
        path = folder / f"{make.__name__}.html"
        if not path.exists():
            assert write_study_page(make(), path) == path.stat().st_size
        return path

    return written


@pytest.fixture(scope="session")
def study_file(page_of: Callable[[Make], Path]) -> Path:
    return page_of(study)
