"""A study's page in headless Chromium, opened from disk, as a person uses it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cpn.ablation.outcome import StudyOutcome
from tests.ablation import examples
from tests.browser import (
    By,
    Keys,
    background,
    find,
    keep_picture,
    look,
    measured,
    start_browser,
    visit,
    webdriver,
)

PageOf = Callable[[Callable[[], StudyOutcome]], Path]
pytestmark = pytest.mark.browser
STUDIES = (examples.study, examples.unfinished, examples.large, examples.hostile)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, study_file: Path) -> Iterator[webdriver.Chrome]:
    yield from visit(browser, study_file)


def _names(browser: webdriver.Chrome) -> list[str]:
    rows = browser.find_elements(By.CSS_SELECTOR, "#results .scroll:first-of-type tbody th")
    return [row.text for row in rows]


def _head(title: str) -> str:
    return f"//section[@id='results']//th[button[text()='{title}']]"


def _sort(browser: webdriver.Chrome, title: str) -> str | None:
    """Touches a column's title; how the table is sorted then."""
    head = browser.find_element(By.XPATH, _head(title))
    head.find_element(By.TAG_NAME, "button").click()
    order: str | None = head.get_attribute("aria-sort")
    return order


def test_a_column_sorts_both_ways_and_back(opened: webdriver.Chrome) -> None:
    before = _names(opened)
    assert before == ["C2-C5", "C2", "C2-C3", "C2-C4", "C5_alone"]
    falling = ["C2-C5", "C2-C4", "C2-C3", "C2", "C5_alone"]
    assert (_sort(opened, "AP"), _names(opened)) == ("descending", falling)
    assert (_sort(opened, "AP"), _names(opened)) == ("ascending", falling[::-1])
    assert (_sort(opened, "AP"), _names(opened)) == (None, before)
    by_name = ["C2", "C2-C3", "C2-C4", "C2-C5", "C5_alone"]
    assert (_sort(opened, "variant"), _names(opened)) == ("ascending", by_name)
    assert _sort(opened, "seeds") == "descending"
    sorted_by = opened.find_elements(By.CSS_SELECTOR, "#results th[aria-sort]")
    assert [head.text for head in sorted_by] == ["seeds"]


def test_what_is_unknown_comes_last_either_way(browser: webdriver.Chrome, page_of: PageOf) -> None:
    for page in visit(browser, page_of(examples.unfinished)):
        for _ in range(2):
            _sort(page, "AP")
            assert _names(page)[-1] == "C2-C4"


def test_a_column_is_sorted_from_the_keyboard(opened: webdriver.Chrome) -> None:
    button = opened.find_element(By.XPATH, _head("AP") + "/button")
    button.send_keys(Keys.ENTER)
    assert _names(opened)[1] == "C2-C4"


def test_the_theme_follows_the_system_and_the_button(opened: webdriver.Chrome) -> None:
    light = background(opened)
    find(opened, "#theme").click()
    dark = background(opened)
    assert dark != light
    assert find(opened, "figure svg text").value_of_css_property("fill") != "rgb(26, 31, 38)"
    find(opened, "#theme").click()
    look(opened, 1440, "dark")
    assert background(opened) == light  # chosen by hand


@pytest.mark.parametrize("make", STUDIES, ids=lambda make: make.__name__)
def test_nothing_is_wider_than_the_screen(
    browser: webdriver.Chrome, make: Callable[[], StudyOutcome], page_of: PageOf
) -> None:
    for page in visit(browser, page_of(make)):
        for width in (360, 1440):
            for theme in ("light", "dark"):
                look(page, width, theme)
                sizes = measured(page)
                assert sizes["width"] == width
                assert sizes["scale"] * 8 >= 8.5  # a chart's smallest text, in pixels
                keep_picture(page, f"{make.__name__}-{width}-{theme}")
