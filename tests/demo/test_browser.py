"""The page in headless Chromium, as a person uses it."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from cpn.demo.serving import listen, server
from tests.browser import (
    By,
    Keys,
    WebElement,
    background,
    find,
    keep_picture,
    log,
    look,
    requests,
    start_browser,
    webdriver,
)
from tests.demo.cases import FixedDetector, analyst_of, facts_of, file_of, photo

pytestmark = pytest.mark.browser

BOXES = ([20.0, 20.0, 140.0, 230.0], [170.0, 30.0, 300.0, 238.0])
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="module")
def address(checkpoint: Path) -> Iterator[str]:
    """A server in a thread, whose detector finds two people in every photo."""
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    facts = facts_of(has_detector=True, max_upload_mib=0.25)
    running = server(analyst_of(checkpoint, FixedDetector(*BOXES), max_megapixels=4), facts)
    with listen(0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{port}"
        running.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_browser(tmp_path_factory.mktemp("profile"), *CAMERA)
    driver.implicitly_wait(10)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    """The page, afresh; it asks nobody but its own server, and complains of nothing."""
    look(browser, 1440, "light")
    log(browser, "performance")  # forget what the test before has loaded
    browser.get(f"{address}/")
    find(browser, "body.ready")
    yield browser
    complaints = [entry["message"] for entry in log(browser, "browser")]
    assert [text for text in complaints if "Failed to load resource" not in text] == []
    loaded, own = requests(browser, address), (f"{address}/", "data:", "blob:")
    assert loaded[0] == f"{address}/"
    assert [url for url in loaded if not url.startswith(own)] == []


@pytest.fixture
def picture(tmp_path: Path) -> str:
    path = tmp_path / "two people.jpg"
    path.write_bytes(file_of(photo(320, 240)))
    return str(path)


def _give(page: webdriver.Chrome, path: str) -> None:
    find(page, "#file").send_keys(path)


def _shown(page: webdriver.Chrome, picture: str) -> None:
    _give(page, picture)
    find(page, ".person.chosen circle")
    _wait_for(page, "#heat-caption", "RefineNet")


def _wait_for(page: webdriver.Chrome, css: str, words: str) -> WebElement:
    literal = f"//*[@id='{css[1:]}'][contains(., '{words}')]"
    return page.find_element(By.XPATH, literal)


def _pixels(page: webdriver.Chrome) -> int:
    """A sum of the canvas's pixels."""
    code = (
        "const c = document.getElementById('heat'), {data} ="
        " c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "return data.reduce((a, b) => a + b);"
    )
    return int(page.execute_script(code))


def test_an_upload_shows_boxes_and_skeletons(page: webdriver.Chrome, picture: str) -> None:
    _shown(page, picture)
    assert find(page, "#status").text == "2 people were found."
    assert len(page.find_elements(By.CSS_SELECTOR, ".person")) == 2
    assert len(page.find_elements(By.CSS_SELECTOR, ".person circle")) == 2 * 17
    rows = [row.text.split() for row in page.find_elements(By.CSS_SELECTOR, "#people .row")]
    assert [row[0] for row in rows] == ["1", "2"]
    assert [row[-1] for row in rows] == ["0.90", "0.50"]
    assert all(word in find(page, "#timing").text for word in ("decoding", "detection", "poses"))
    box = find(page, ".person.chosen rect")
    stage = find(page, "#photo")
    zoom = stage.size["width"] / 320
    assert box.rect["width"] == pytest.approx(120 * zoom, abs=4)
    assert box.rect["x"] - stage.rect["x"] == pytest.approx(20 * zoom, abs=3)


def test_the_slider_goes_from_coarse_to_fine_by_keyboard(
    page: webdriver.Chrome, picture: str
) -> None:
    _shown(page, picture)
    level = find(page, "#level")
    assert find(page, "#heat-caption").text.startswith("RefineNet: all keypoints")
    seen, pictures = [], [_pixels(page)]
    for _ in range(4):
        level.send_keys(Keys.ARROW_LEFT)
        seen.append(find(page, "#heat-caption").text.split(":")[0])
        pictures.append(_pixels(page))
    assert seen == [f"GlobalNet, level P{n}" for n in (2, 3, 4, 5)]
    assert len(set(pictures)) == 5
    assert level.get_attribute("aria-valuetext") == "GlobalNet, level P5, 1 of 5"
    find(page, "#heat").send_keys(Keys.ARROW_RIGHT)  # the picture takes arrows, too
    assert "level P4" in find(page, "#heat-caption").text


def test_one_keypoint_s_heatmap(page: webdriver.Chrome, picture: str) -> None:
    _shown(page, picture)
    everything = _pixels(page)
    rows = page.find_elements(By.CSS_SELECTOR, "#keypoints .row")
    assert len(rows) == 18
    rows[10].click()
    assert "left wrist" in find(page, "#heat-caption").text
    assert _pixels(page) != everything
    assert len(page.find_elements(By.CSS_SELECTOR, ".person.chosen circle.named")) == 1
    webdriver.ActionChains(page).send_keys(Keys.ARROW_DOWN).perform()
    assert "right wrist" in find(page, "#heat-caption").text


def test_pointing_at_a_person_names_keypoints_and_a_click_chooses(
    page: webdriver.Chrome, picture: str
) -> None:
    _shown(page, picture)
    # The chosen person is drawn last; of the other one a joint that no other is near to.
    joint = find(page, ".person:not(.chosen) circle")
    webdriver.ActionChains(page).move_to_element(joint).perform()
    hot = find(page, ".person.hot text").text
    label = find(page, "#label").text
    assert label.startswith(f"{hot}: ")
    assert 0 <= float(label.split()[-1]) <= 1
    webdriver.ActionChains(page).click().perform()
    _wait_for(page, "#heat-title", f"person {hot}")
    assert find(page, f"#people .row:nth-of-type({hot}) input").is_selected()


def test_a_box_is_drawn_by_hand(page: webdriver.Chrome, picture: str) -> None:
    _shown(page, picture)
    find(page, "#draw").click()
    assert find(page, "#draw-help").is_displayed()
    stage = find(page, "#photo")
    drag = webdriver.ActionChains(page).move_to_element_with_offset(stage, -80, -60)
    drag.click_and_hold().move_by_offset(90, 130).release().perform()
    _wait_for(page, "#status", "Person 3 was added.")
    assert "box by hand" in find(page, "#people .row:nth-of-type(3)").text
    assert not find(page, "#draw-help").is_displayed()
    _wait_for(page, "#heat-title", "person 3")
    # By two clicks; and Escape draws none.
    find(page, "#draw").click()
    move = webdriver.ActionChains(page).move_to_element_with_offset(stage, -40, -50)
    move.click().move_by_offset(100, 120).click().perform()
    _wait_for(page, "#status", "Person 4 was added.")
    find(page, "#draw").click()
    webdriver.ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert find(page, "#draw").get_attribute("aria-pressed") == "false"


def test_what_is_no_photo_is_said_and_the_photo_stays(
    page: webdriver.Chrome, picture: str, tmp_path: Path
) -> None:
    _shown(page, picture)
    for name, content, words in (
        ("notes.txt", b"hello", "notes.txt: the file is no image"),
        (
            "large.jpg",
            b"x" * (1 << 19),
            "large.jpg: the file has 0.5 MiB, at most 0.25 are allowed",
        ),
        ("empty.png", b"", "empty.png: the file is empty"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        _give(page, str(path))
        _wait_for(page, "#error", words)
        assert find(page, ".person.chosen rect").is_displayed()
    _give(page, picture)
    _wait_for(page, "#status", "2 people were found.")
    assert not find(page, "#error").is_displayed()


def test_keypoints_below_the_threshold_are_hidden(page: webdriver.Chrome, picture: str) -> None:
    _shown(page, picture)
    slider = find(page, "#threshold")
    slider.send_keys(Keys.END)
    assert find(page, "#threshold-value").text == "1.00"
    page.implicitly_wait(0)
    shown = page.find_elements(By.CSS_SELECTOR, ".person circle")
    page.implicitly_wait(10)
    assert len(shown) < 34


def test_a_photo_from_the_camera(page: webdriver.Chrome) -> None:
    find(page, "#camera-open").click()
    _wait_for(page, "#camera-take", "Take the photo")
    webdriver.ActionChains(page).pause(1).perform()  # until the camera's first picture
    find(page, "#camera-take").click()
    _wait_for(page, "#status", "2 people were found.")
    assert not find(page, "#camera").is_displayed()


def test_a_dropped_photo(page: webdriver.Chrome) -> None:
    """Selenium cannot drag from outside; the event that a drop makes is sent instead."""
    ok, content = cv2.imencode(".png", np.full((60, 80, 3), 200, np.uint8))
    assert ok
    code = (
        "const data = new DataTransfer();"
        "data.items.add(new File([new Uint8Array(arguments[0])], 'dropped.png'));"
        "document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: data, bubbles: true}));"
    )
    page.execute_script(code, list(content.tobytes()))
    _wait_for(page, "#status", "2 people were found.")


def test_everything_is_reached_by_keyboard_and_named(page: webdriver.Chrome, picture: str) -> None:
    _shown(page, picture)
    find(page, "body").send_keys(Keys.HOME)
    reached = []
    for _ in range(14):
        webdriver.ActionChains(page).send_keys(Keys.TAB).perform()
        active = page.switch_to.active_element
        if active.tag_name == "body":
            break
        assert active.accessible_name, active.get_attribute("outerHTML")
        reached.append(active.get_attribute("id") or active.get_attribute("name"))
    order = ["theme", "file", "camera-open", "draw", "threshold", "heat", "level", "heat-points"]
    assert [name for name in reached if name in order] == order
    assert "person" in reached
    assert "keypoint" in reached


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_is_wider_than_the_screen(
    page: webdriver.Chrome, picture: str, width: int, theme: str
) -> None:
    look(page, width, theme)
    keep_picture(page, f"demo-start-{width}-{theme}")
    _shown(page, picture)
    size = page.execute_script("return document.documentElement.scrollWidth")
    assert size == width
    assert (background(page) == "rgba(20, 23, 28, 1)") == (theme == "dark")
    keep_picture(page, f"demo-{width}-{theme}")


def test_a_panorama_scrolls_in_its_own_frame(page: webdriver.Chrome, tmp_path: Path) -> None:
    look(page, 360, "light")
    path = tmp_path / "panorama.jpg"
    path.write_bytes(file_of(photo(3000, 200)))
    _shown(page, str(path))
    assert page.execute_script("return document.documentElement.scrollWidth") == 360
    assert find(page, "#photo").size["height"] > 90
