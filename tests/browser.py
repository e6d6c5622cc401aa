"""Headless Chromium for the tests of pages, which are opened from disk, as a person does.

CPN_SCREENSHOTS=FOLDER keeps a picture of each width and theme, to be looked at.
"""

import base64
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("selenium", reason="pages are tried in a browser by selenium: pip install it")
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

__all__ = ["By", "Keys", "Select", "WebDriverWait", "WebElement", "webdriver"]

ARGUMENTS = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--no-sandbox"),  # the page is our own, and a test may be root's
)


def start_browser(profile: Path, *more: str) -> webdriver.Chrome:
    """A browser with a profile of its own, or a skipped test where none is installed.

    Args:
        profile: an empty folder.
        more: arguments of Chromium.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for argument in (*ARGUMENTS, *more, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(_program("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def visit(browser: webdriver.Chrome, file: Path) -> Iterator[webdriver.Chrome]:
    """The page, afresh at 1440 pixels; in the end nothing was complained of and nothing loaded."""
    look(browser, 1440, "light")
    log(browser, "performance")  # forget what the test before has loaded
    browser.get(file.as_uri())
    yield browser
    assert log(browser, "browser") == []
    loaded = [url for url in requests(browser, file.as_uri()) if not url.startswith("data:")]
    assert loaded == [file.as_uri()], loaded


def log(browser: Any, name: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = browser.get_log(name)
    return entries


def requests(browser: webdriver.Chrome, page: str) -> list[str]:
    """What a page has loaded, itself first; the browser's first tab may still be loading, too."""
    events = [json.loads(entry["message"])["message"] for entry in log(browser, "performance")]
    sent = [event for event in events if event["method"] == "Network.requestWillBeSent"]
    by_page = [each["params"] for each in sent if each["params"]["documentURL"].startswith(page)]
    return [each["request"]["url"] for each in by_page]


def look(browser: webdriver.Chrome, width: int, theme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": theme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def find(browser: webdriver.Chrome, css: str) -> WebElement:
    return browser.find_element(By.CSS_SELECTOR, css)


def background(browser: webdriver.Chrome) -> str:
    return find(browser, "body").value_of_css_property("background-color")


def measured(browser: webdriver.Chrome) -> dict[str, Any]:
    """Width and height of the page in pixels, and the least scale of its charts."""
    sizes: dict[str, Any] = browser.execute_script(
        "const e = document.documentElement;"
        "const charts = [...document.querySelectorAll('figure svg')];"
        "return {width: e.scrollWidth, height: e.scrollHeight,"
        " scale: Math.min(...charts.map(x => x.getScreenCTM().a))}"
    )
    return sizes


def keep_picture(browser: webdriver.Chrome, name: str) -> None:
    """The whole page, if pictures are wanted."""
    if "CPN_SCREENSHOTS" not in os.environ:
        return
    size = measured(browser)
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    asked = {"captureBeyondViewport": True, "clip": clip}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", asked)
    path = Path(os.environ["CPN_SCREENSHOTS"]) / f"{name}.png"
    path.write_bytes(base64.b64decode(shot["data"]))


def _program(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(names)} is installed: the page is not tried in a browser")
    return found
