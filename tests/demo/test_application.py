"""The demo's HTTP interface, without a port."""

import asyncio
import base64
import logging
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from cpn.demo import album, application
from cpn.demo.analysis import Analyst
from cpn.demo.application import Demo
from cpn.skeleton import COCO_17
from tests.conftest import with_exif_orientation
from tests.demo.cases import (
    OWN,
    FixedDetector,
    analyst_of,
    facts_of,
    file_of,
    photo,
    shown,
    write_checkpoint,
)

BOXES = ([4.0, 4.0, 40.0, 60.0], [50.0, 10.0, 90.0, 64.0])
JPEG = file_of(photo())


def _client(analyst: Analyst, *, max_upload_mib: float = 1) -> TestClient:
    facts = facts_of(has_detector=analyst.predictor.has_detector, max_upload_mib=max_upload_mib)
    return TestClient(Demo(analyst, facts).application(), OWN, raise_server_exceptions=False)


@pytest.fixture
def client(checkpoint: Path) -> Iterator[TestClient]:
    with _client(analyst_of(checkpoint, FixedDetector(*BOXES))) as client:
        yield client


def _post(client: TestClient, content: bytes = JPEG, **headers: str) -> Any:
    return client.post("/api/photos", content=content, headers=headers)


def test_a_photo_gives_its_people(client: TestClient) -> None:
    answer = _post(client).json()
    assert (answer["width"], answer["height"]) == (96, 64)
    assert [person["box"] for person in answer["people"]] == [*BOXES]
    assert [person["box_score"] for person in answer["people"]] == [0.9, 0.5]
    person = answer["people"][0]
    assert np.shape(person["keypoints"]) == (17, 3)
    scores = [keypoint[2] for keypoint in person["keypoints"]]
    assert person["score"] == pytest.approx(np.mean(scores))
    assert set(answer["timing"]) == {"decode", "detection", "pose"}


def test_the_picture_is_upright(client: TestClient) -> None:
    answer = _post(client, with_exif_orientation(JPEG, 6)).json()
    assert (answer["width"], answer["height"]) == (64, 96)
    picture = client.get(f"/api/photos/{answer['key']}/picture")
    assert picture.headers["content-type"] == "image/jpeg"
    assert shown(picture.content).shape == (96, 64, 3)


def test_heatmaps_of_a_person(client: TestClient) -> None:
    key = _post(client).json()["key"]
    answer = client.get(f"/api/photos/{key}/people/1/heatmaps").json()
    assert [stage["name"] for stage in answer["stages"]] == ["P5", "P4", "P3", "P2", "RefineNet"]
    crop = shown(base64.b64decode(answer["crop"]))
    assert crop.shape == (answer["height"], answer["width"], 3) == (64, 64, 3)
    for stage in answer["stages"]:
        height, width = stage["size"]
        assert len(base64.b64decode(stage["maps"])) == 17 * height * width
        assert len(stage["peaks"]) == len(stage["points"]) == 17
    assert client.get(f"/api/photos/{key}/people/2/heatmaps").status_code == 404


def test_global_net_alone_and_no_detector(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "global.safetensors", "model.refine.enabled=false")
    with _client(analyst_of(path)) as client:
        model = client.get("/api/model").json()
        assert model["stages"] == ["P5", "P4", "P3", "P2"]
        assert not model["has_detector"]
        answer = _post(client).json()
        assert [person["box"] for person in answer["people"]] == [[0, 0, 96, 64]]
        assert answer["people"][0]["box_score"] is None
        heatmaps = client.get(f"/api/photos/{answer['key']}/people/0/heatmaps").json()
        assert [stage["name"] for stage in heatmaps["stages"]] == model["stages"]
        assert "There is no person detector" in client.get("/").text


def test_a_person_is_added_by_hand(client: TestClient) -> None:
    path = f"/api/photos/{_post(client).json()['key']}/people"
    answer = client.post(path, json={"box": [-5, 2, 30, 40]}).json()
    assert answer["person"]["box"] == [0, 2, 30, 40]
    assert answer["person"]["box_score"] is None
    assert answer["person"]["number"] == 2
    assert client.get(f"{path}/2/heatmaps").status_code == 200
    wrongs: list[Any] = [
        {"box": [1, 2, 3]},
        {"box": "all"},
        {"bocks": []},
        [],
        {"box": [0, 0, 1, 1]},
    ]
    for wrong in wrongs:
        refused = client.post(path, json=wrong)
        assert refused.status_code == 400
        assert "box" in refused.json()["error"]
    assert client.post(path, content=b" " * 1025).status_code == 413
    assert client.get(f"{path}/3/heatmaps").status_code == 404


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 400, "the file is empty"),
        (b"text", 415, "the file is no image"),
        (JPEG[:300], 422, "cut off"),
        (file_of(photo(1001, 1000)), 413, "megapixels"),
        (b"x" * (1 << 20) + b"x", 413, "the file has more than 1 MiB"),
    ],
)
def test_what_is_no_photo_is_refused(
    client: TestClient, content: bytes, status: int, words: str
) -> None:
    answer = _post(client, content)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    assert _post(client).status_code == 200  # the next one is served


def test_a_photo_that_was_pushed_out(client: TestClient) -> None:
    for path in ("picture", "people/0/heatmaps"):
        answer = client.get(f"/api/photos/unknown/{path}")
        assert answer.status_code == 404
        assert "no longer in memory" in answer.json()["error"]


def test_an_endless_upload_is_cut_at_the_limit(checkpoint: Path) -> None:
    """Counted as it comes in: no length is declared, and it would go on."""
    app = Demo(analyst_of(checkpoint), facts_of(max_upload_mib=0.5)).application()
    asked, sent = 0, []

    async def receive() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "http.request", "body": b"x" * 65536, "more_body": asked < 99}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/photos",
        "query_string": b"",
        "headers": [(b"host", b"localhost:1")],
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 413
    assert b"more than 0.5 MiB" in sent[1]["body"]
    assert asked == 9  # 8 are half a MiB


@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "0.0.0.0", "localhost.evil"])
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    """A site whose name is rebound to 127.0.0.1 still calls itself by its name."""
    for answer in (client.get("/", headers={"host": host}), _post(client, host=host)):
        assert answer.status_code == 400
    assert client.get("/", headers={"host": "localhost:7860"}).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:8888", "null"])
def test_other_pages_may_not_post(client: TestClient, origin: str) -> None:
    answer = _post(client, origin=origin)
    assert answer.status_code == 403
    assert origin in answer.json()["error"]
    assert _post(client, origin="http://127.0.0.1").status_code == 200


def test_the_page_may_load_nothing_else(client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "&lt;b&gt;tiny&lt;/b&gt;" in page.text
    assert "<script>" not in page.text
    assert "style=" not in page.text
    named = [text.split('"')[0] for text in page.text.split('src="')[1:]]
    assert named == ["/theme.js", "/app.js"]
    for path in (*named, "/style.css", "/photo.js"):
        asset = client.get(path)
        assert asset.status_code == 200
        assert asset.headers["x-content-type-options"] == "nosniff"
        assert set(re.findall(r"\w+://[^\"]+", asset.text)) <= {"http://www.w3.org/2000/svg"}


def test_colours_and_names_are_the_skeleton_s(client: TestClient) -> None:
    model = client.get("/api/model").json()
    assert model["names"][5:7] == ["left shoulder", "right shoulder"]
    assert model["limbs"] == [list(limb) for limb in COCO_17.limbs]
    assert model["keypoint_colors"][:3] == ["#78eb6e", "#ff8c28", "#28aaff"]  # middle, left, right
    assert len(model["limb_colors"]) == len(COCO_17.limbs)


def test_other_ways_are_closed(client: TestClient) -> None:
    assert client.get("/api/photos").status_code == 405
    for path in ("/docs", "/../pyproject.toml", "/page.html", "/assets/app.js"):
        assert client.get(path).status_code == 404


def _together(number: int, call: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(number) as pool:
        return [future.result() for future in [pool.submit(call) for _ in range(number)]]


def test_photos_take_turns_while_the_page_is_served(checkpoint: Path) -> None:
    class Slow(FixedDetector):
        inside = most = 0
        may_go = threading.Event()
        lock = threading.Lock()

        def __call__(self, images_rgb: Any) -> Any:
            with self.lock:
                self.inside += 1
                self.most = max(self.most, self.inside)
            assert self.may_go.wait(20)
            with self.lock:
                self.inside -= 1
            return super().__call__(images_rgb)

    slow = Slow(*BOXES)
    with _client(analyst_of(checkpoint, slow)) as client:

        def look_at_the_page() -> int:
            status = client.get("/").status_code
            slow.may_go.set()
            return status

        with ThreadPoolExecutor(1) as pool:
            posted = pool.submit(_together, 3, lambda: _post(client))
            while not slow.inside:
                pass
            assert look_at_the_page() == 200
            answers = posted.result()
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert slow.most == 1
    assert len({answer.json()["key"] for answer in answers}) == 3


def test_too_many_at_once_are_told_so(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(application, "MAX_WAITING", 0)
    answer = _post(client)
    assert answer.status_code == 503
    assert "waiting already" in answer.json()["error"]


def test_boxes_and_heatmaps_wait_in_the_same_queue(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/api/photos/{_post(client).json()['key']}/people"
    monkeypatch.setattr(application, "MAX_WAITING", 0)
    assert client.post(path, json={"box": [1, 1, 30, 30]}).status_code == 503
    assert client.get(f"{path}/0/heatmaps").status_code == 503


def test_people_are_added_up_to_a_limit(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = _post(client).json()
    monkeypatch.setattr(album, "MAX_PEOPLE", len(given["people"]))
    answer = client.post(f"/api/photos/{given['key']}/people", json={"box": [1, 1, 30, 30]})
    assert answer.status_code == 400
    assert "is the most" in answer.json()["error"]
    answer = client.post(f"/api/photos/{given['key']}/people", content=b"x" * 2000)
    assert (answer.status_code, answer.json()["error"]) == (
        413,
        "a box has no more than 1024 bytes",
    )


def test_a_bug_is_one_line_for_the_page(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(FixedDetector):
        def __call__(self, images_rgb: Any) -> Any:  # noqa: ARG002
            raise RuntimeError("shapes differ\nand so on")

    caplog.set_level(logging.ERROR)
    with _client(analyst_of(checkpoint, Broken())) as client:
        answer = _post(client)
    assert answer.status_code == 500
    expected = "this went wrong on the server, whose terminal says more: shapes differ"
    assert answer.json()["error"] == expected
