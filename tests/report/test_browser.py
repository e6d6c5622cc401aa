"""The page in headless Chromium, opened from disk, as a person uses it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import (
    By,
    Keys,
    Select,
    WebDriverWait,
    WebElement,
    background,
    find,
    keep_picture,
    log,
    look,
    measured,
    start_browser,
    visit,
    webdriver,
)

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, report_file: Path) -> Iterator[webdriver.Chrome]:
    for page in visit(browser, report_file):
        WebDriverWait(page, 30).until(_cards)  # they are made when the page is loaded
        yield page


def _cards(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#cards .card")


def _choose(browser: webdriver.Chrome, name: str, value: str) -> None:
    Select(find(browser, f"select[name={name}]")).select_by_value(value)


def _kind(browser: webdriver.Chrome, value: str) -> None:
    find(browser, f"input[name=kind][value='{value}']").click()


def _figures(browser: webdriver.Chrome, name: str) -> list[float]:
    """OKS or score of the cards, in their order; those without one are left out."""
    captions = [card.text.splitlines()[-1] for card in _cards(browser)]
    found = [re.search(rf"{name} (\d\.\d+)", caption) for caption in captions]
    return [float(each[1]) for each in found if each]


def _press(browser: webdriver.Chrome, *keys: str) -> None:
    for key in keys:
        webdriver.ActionChains(browser).send_keys(key).perform()


def test_it_opens_with_the_lowest_oks_first(opened: webdriver.Chrome) -> None:
    assert "small <script>alert(1)</script>" in opened.title
    shown = _figures(opened, "OKS")
    assert len(_cards(opened)) == 24
    assert shown == sorted(shown)
    assert find(opened, "#status").text.startswith("24 of ")
    find(opened, "#more").click()
    assert len(_cards(opened)) > 24


def test_it_sorts(opened: webdriver.Chrome) -> None:
    _choose(opened, "sort", "-score")
    shown = _figures(opened, "score")
    assert shown == sorted(shown, reverse=True)
    _choose(opened, "sort", "score")
    assert _figures(opened, "score")[0] <= shown[-1]
    for key, reverse in (("size", False), ("-size", True)):
        _choose(opened, "sort", key)
        _cards(opened)[0].click()
        first = find(opened, "#details").text
        _press(opened, Keys.ARROW_LEFT)  # around, to the last one
        last = find(opened, "#details").text
        sizes = [int(text.split("size\n")[1].split()[0]) for text in (first, last)]
        assert sizes == sorted(sizes, reverse=reverse)
        _press(opened, Keys.ESCAPE)


@pytest.mark.parametrize("kind", ["swap", "miss", "inversion", "jitter", "false_positive"])
def test_it_filters_by_kind(opened: webdriver.Chrome, kind: str) -> None:
    _kind(opened, kind)
    cards = _cards(opened)
    assert cards
    assert all(kind.replace("_", " ") in card.text for card in cards)


def test_it_filters_by_keypoint_and_image(opened: webdriver.Chrome) -> None:
    everything = find(opened, "#status").text
    _kind(opened, "swap")
    swaps = len(_cards(opened))
    _choose(opened, "keypoint", "5")
    shoulders = _cards(opened)
    assert 0 < len(shoulders) < swaps
    for card in shoulders:
        card.click()
        assert "left shoulder swap" in find(opened, "#details").text
        _press(opened, Keys.ESCAPE)
    _choose(opened, "keypoint", "")
    _kind(opened, "")
    image = find(opened, "input[name=image]")
    image.send_keys("103")
    _cards(opened)[0].click()
    assert "image\n103" in find(opened, "#details").text
    _press(opened, Keys.ESCAPE)
    image.send_keys("999")
    assert _cards(opened) == []
    assert find(opened, "#status").text.startswith("No instance matches")
    image.clear()
    image.send_keys(" ")
    assert find(opened, "#status").text == everything


def test_an_instance_is_enlarged_and_arrows_go_on(opened: webdriver.Chrome) -> None:
    _cards(opened)[2].click()
    title = find(opened, "#viewer-title")
    assert title.text.startswith("3 of ")
    details = find(opened, "#details").text
    assert all(word in details for word in ("OKS", "score", "annotation", "left ankle", "px"))
    assert find(opened, "#stage g.truth line")
    assert find(opened, "#stage .ring")
    _press(opened, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert title.text.startswith("5 of ")
    _press(opened, Keys.ARROW_LEFT)
    assert title.text.startswith("4 of ")
    find(opened, "#next").click()
    _press(opened, Keys.ESCAPE)
    assert not find(opened, "#viewer").is_displayed()
    assert opened.switch_to.active_element == _cards(opened)[4]  # where one had come to
    _press(opened, Keys.ENTER)
    assert title.text.startswith("5 of ")
    find(opened, "#close").click()
    assert not find(opened, "#viewer").is_displayed()


def test_skeletons_can_be_switched_off(opened: webdriver.Chrome) -> None:
    for layer, css in (("truth", "g.truth"), ("predicted", "g.predicted"), ("box", "rect.box")):
        mark = find(opened, f"#cards {css}")
        before = mark.is_displayed()
        find(opened, f"input[name={layer}]").click()
        assert mark.is_displayed() is not before


def test_a_missing_photo_is_said(opened: webdriver.Chrome) -> None:
    find(opened, "#more").click()
    (card,) = [card for card in _cards(opened) if "no picture" in card.text]
    card.click()
    assert "missing.jpg" in find(opened, "#details").text


def test_the_theme_follows_the_system_and_the_button(opened: webdriver.Chrome) -> None:
    light = background(opened)
    find(opened, "#theme").click()
    dark = background(opened)
    assert dark != light
    assert find(opened, "#theme").get_attribute("aria-pressed") == "true"
    assert find(opened, "figure svg text").value_of_css_property("fill") != "rgb(26, 31, 38)"
    find(opened, "#theme").click()
    look(opened, 1440, "dark")
    assert background(opened) == light  # chosen by hand
    opened.refresh()
    assert background(opened) == dark
    log(opened, "performance")
    opened.get(opened.current_url)


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(opened: webdriver.Chrome, width: int, theme: str) -> None:
    look(opened, width, theme)
    sizes = measured(opened)
    assert sizes["width"] == width
    assert sizes["scale"] * 8 >= 8.5  # a chart's smallest text, in pixels
    keep_picture(opened, f"report-{width}-{theme}")
