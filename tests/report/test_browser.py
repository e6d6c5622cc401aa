"""The page in headless Chromium, opened from disk, as a person uses it.

CPN_SCREENSHOTS=FOLDER keeps a picture of each width and theme, to be looked at.
"""

import base64
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="the page is tried in a browser by selenium: pip install it")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

pytestmark = pytest.mark.browser

ARGUMENTS = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-sandbox"),  # the page is our own, and a test may be root's
)


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is installed: the page is not tried in a browser")
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(_program("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, report_file: Path) -> Iterator[webdriver.Chrome]:
    """The page, afresh at 1440 pixels; in the end nothing was complained of and nothing loaded."""
    _look(browser, 1440, "light")
    _requests(browser)  # forget those of the test before
    browser.get(report_file.as_uri())
    yield browser
    assert _log(browser, "browser") == []
    # chrome: is the browser's own first tab, which may still be loading.
    own = ("data:", "chrome:")
    requests = [url for url in _requests(browser) if not url.startswith(own)]
    assert requests == [report_file.as_uri()]


def _log(browser: Any, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = browser.get_log(name)
    return entries


def _requests(browser: webdriver.Chrome) -> list[str]:
    events = [json.loads(entry["message"])["message"] for entry in _log(browser, "performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    return [event["params"]["request"]["url"] for event in sent]


def _look(browser: webdriver.Chrome, width: int, theme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def _find(browser: webdriver.Chrome, css: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, css)


def _cards(browser: webdriver.Chrome) -> list[WebElement]:
    return browser.find_elements(By.CSS_SELECTOR, "#cards .card")


def _choose(browser: webdriver.Chrome, name: str, value: str) -> None:
    Select(_find(browser, f"select[name={name}]")).select_by_value(value)


def _kind(browser: webdriver.Chrome, value: str) -> None:
    _find(browser, f"input[name=kind][value='{value}']").click()


def _figures(browser: webdriver.Chrome, name: str) -> list[float]:
    """OKS or score of the cards, in their order; those without one are left out."""
    captions = [card.text.splitlines()[-1] for card in _cards(browser)]
    found = [re.search(rf"{name} (\d\.\d+)", caption) for caption in captions]
    return [float(each[1]) for each in found if each]


def _background(browser: webdriver.Chrome) -> str:
    return _find(browser, "body").value_of_css_property("background-color")


def _press(browser: webdriver.Chrome, *keys: str) -> None:
    for key in keys:
        webdriver.ActionChains(browser).send_keys(key).perform()


def test_it_opens_with_the_lowest_oks_first(opened: webdriver.Chrome) -> None:
    assert "small <script>alert(1)</script>" in opened.title
    shown = _figures(opened, "OKS")
    assert len(_cards(opened)) == 24
    assert shown == sorted(shown)
    assert _find(opened, "#status").text.startswith("24 of ")
    _find(opened, "#more").click()
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
        first = _find(opened, "#details").text
        _press(opened, Keys.ARROW_LEFT)  # around, to the last one
        last = _find(opened, "#details").text
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
    everything = _find(opened, "#status").text
    _kind(opened, "swap")
    swaps = len(_cards(opened))
    _choose(opened, "keypoint", "5")
    shoulders = _cards(opened)
    assert 0 < len(shoulders) < swaps
    for card in shoulders:
        card.click()
        assert "left shoulder swap" in _find(opened, "#details").text
        _press(opened, Keys.ESCAPE)
    _choose(opened, "keypoint", "")
    _kind(opened, "")
    image = _find(opened, "input[name=image]")
    image.send_keys("103")
    _cards(opened)[0].click()
    assert "image\n103" in _find(opened, "#details").text
    _press(opened, Keys.ESCAPE)
    image.send_keys("999")
    assert _cards(opened) == []
    assert _find(opened, "#status").text.startswith("No instance matches")
    image.clear()
    image.send_keys(" ")
    assert _find(opened, "#status").text == everything


def test_an_instance_is_enlarged_and_arrows_go_on(opened: webdriver.Chrome) -> None:
    _cards(opened)[2].click()
    title = _find(opened, "#viewer-title")
    assert title.text.startswith("3 of ")
    details = _find(opened, "#details").text
    assert all(word in details for word in ("OKS", "score", "annotation", "left ankle", "px"))
    assert _find(opened, "#stage g.truth line")
    assert _find(opened, "#stage .ring")
    _press(opened, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert title.text.startswith("5 of ")
    _press(opened, Keys.ARROW_LEFT)
    assert title.text.startswith("4 of ")
    _find(opened, "#next").click()
    _press(opened, Keys.ESCAPE)
    assert not _find(opened, "#viewer").is_displayed()
    assert opened.switch_to.active_element == _cards(opened)[4]  # where one had come to
    _press(opened, Keys.ENTER)
    assert title.text.startswith("5 of ")
    _find(opened, "#close").click()
    assert not _find(opened, "#viewer").is_displayed()


def test_skeletons_can_be_switched_off(opened: webdriver.Chrome) -> None:
    for layer, css in (("truth", "g.truth"), ("predicted", "g.predicted"), ("box", "rect.box")):
        mark = _find(opened, f"#cards {css}")
        before = mark.is_displayed()
        _find(opened, f"input[name={layer}]").click()
        assert mark.is_displayed() is not before


def test_a_missing_photo_is_said(opened: webdriver.Chrome) -> None:
    _find(opened, "#more").click()
    (card,) = [card for card in _cards(opened) if "no picture" in card.text]
    card.click()
    assert "missing.jpg" in _find(opened, "#details").text


def test_the_theme_follows_the_system_and_the_button(opened: webdriver.Chrome) -> None:
    light = _background(opened)
    _find(opened, "#theme").click()
    dark = _background(opened)
    assert dark != light
    assert _find(opened, "#theme").get_attribute("aria-pressed") == "true"
    assert _find(opened, "figure svg text").value_of_css_property("fill") != "rgb(26, 31, 38)"
    _find(opened, "#theme").click()
    _look(opened, 1440, "dark")
    assert _background(opened) == light  # chosen by hand
    opened.refresh()
    assert _background(opened) == dark
    _log(opened, "performance")
    opened.get(opened.current_url)


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(opened: webdriver.Chrome, width: int, theme: str) -> None:
    _look(opened, width, theme)
    measured: dict[str, Any] = opened.execute_script(
        "const e = document.documentElement;"
        "const charts = [...document.querySelectorAll('figure svg')];"
        "return {width: e.scrollWidth, height: e.scrollHeight,"
        " scale: Math.min(...charts.map(x => x.getScreenCTM().a))}"
    )
    assert measured["width"] == width
    assert measured["scale"] * 8 >= 8.5  # a chart's smallest text, in pixels
    if "CPN_SCREENSHOTS" in os.environ:
        clip = {"x": 0, "y": 0, "width": width, "height": measured["height"], "scale": 1}
        asked = {"captureBeyondViewport": True, "clip": clip}
        shot = opened.execute_cdp_cmd("Page.captureScreenshot", asked)
        path = Path(os.environ["CPN_SCREENSHOTS"]) / f"report-{width}-{theme}.png"
        path.write_bytes(base64.b64decode(shot["data"]))
