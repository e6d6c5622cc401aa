"""A video or a camera in, keypoints and a video out."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from cpn.detection.detections import Detections
from cpn.errors import UserError
from cpn.process.interruption import STOP
from cpn.tasks.predict import PredictionStopped, predict
from cpn.video.frames import VideoFrame
from cpn.video.reader import VideoReader
from tests.conftest import TinyCoco
from tests.tasks.predictions import Lines, PretendedDetector, files, lines, people_per_frame, read
from tests.tasks.predictions import MakePredictConfig as MakeConfig
from tests.video.clips import cut_off, damage, picture, write_clip


def test_a_video_gives_frames_and_a_video(predict_config: MakeConfig, tmp_path: Path) -> None:
    written = predict(predict_config(write_clip(tmp_path / "a.mp4"), batch_images=3))
    out = written.parent
    assert written.name == "frames.jsonl"
    assert files(out) == ["frames.jsonl", "images.json", "results.json", "video.mp4"]
    assert [line["frame"] for line in lines(out)] == list(range(8))
    assert [line["time"] for line in lines(out)] == pytest.approx([k / 10 for k in range(8)])
    assert {line["file_name"] for line in lines(out)} == {"a.mp4"}
    assert people_per_frame(out) == [1] * 8
    assert [r["image_id"] for r in read(out / "results.json")] == list(range(1, 9))
    assert read(out / "images.json")[3] == {
        "id": 4,
        "file_name": "a.mp4",
        "frame": 3,
        "width": 64,
        "height": 48,
    }
    reader = VideoReader(out / "video.mp4", max_megapixels=1)
    frames = list(reader)
    assert reader.frame_rate == 10
    assert [frame.time for frame in frames] == pytest.approx([k / 10 for k in range(8)])


def test_people_of_a_video_are_tracked_and_smoothed(
    predict_config: MakeConfig, tmp_path: Path, detector: PretendedDetector
) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    tracked = ("tracking.enabled=true",)
    out = predict(predict_config(clip, *tracked, detector="d", out=tmp_path / "raw")).parent
    numbers = [[person["track"] for person in line["people"]] for line in lines(out)]
    assert {number for frame in numbers for number in frame} == {1, 2}
    assert [set(frame) for frame in numbers[:4]] == [{1}, {1, 2}, {1}, {1, 2}]
    raw = lines(out)
    smooth = (*tracked, "smoothing.enabled=true", "smoothing.min_cutoff=0.001", "smoothing.beta=0")
    out = predict(
        predict_config(clip, *smooth, detector="d", keypoint_threshold=0.0, out=tmp_path / "smooth")
    ).parent

    def travelled(frames: Lines) -> float:
        points = np.array(
            [p["keypoints"] for line in frames for p in line["people"] if p["track"] == 1]
        )
        return float(np.abs(np.diff(points.reshape(-1, 17, 3)[..., :2], axis=0)).sum())

    assert travelled(lines(out)) < 0.1 * travelled(raw)


def test_a_damaged_frame_has_an_empty_record(
    predict_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    damage(clip, 7)
    out = predict(predict_config(clip)).parent
    lost = [line for line in lines(out) if line["problem"]]
    assert len(lines(out)) == 8
    assert len(lost) == 1
    assert lost[0]["problem"] == "cannot be decoded"
    assert lost[0]["people"] == []
    assert people_per_frame(out).count(1) == 7
    assert "1 of 8 frames are damaged or too large and have no people" in caplog.text
    assert len(list(VideoReader(out / "video.mp4", max_megapixels=1))) == 7


def test_of_a_video_that_is_cut_off_the_rest_is_written(
    predict_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    cut_off(clip, 5)
    with pytest.raises(UserError, match="cut off: 5 of 8 frames are there, and what was found"):
        predict(predict_config(clip))
    out = Path(predict_config(clip).out)
    assert len(lines(out)) == 5
    assert len(list(VideoReader(out / "video.mp4", max_megapixels=1))) == 5
    predict(predict_config(clip, on_error="skip"))
    assert "the video is cut off: 5 of 8 frames are there" in caplog.text


def test_a_video_that_is_none_leaves_nothing(predict_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"a\.mp4: not a readable video"):
        predict(predict_config(tmp_path / "a.mp4"))
    assert not Path(predict_config("").out).exists()


def test_only_so_many_frames(predict_config: MakeConfig, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    assert len(lines(predict(predict_config(clip, max_frames=3)).parent)) == 3


@pytest.fixture
def asked_to_stop() -> Iterator[Callable[[], None]]:
    """What a first Ctrl-C does."""

    def stop() -> None:
        STOP.signal = signal.SIGINT

    yield stop
    STOP.signal = None


def test_what_was_done_before_ctrl_c_is_whole(
    predict_config: MakeConfig,
    tmp_path: Path,
    detector: PretendedDetector,
    monkeypatch: pytest.MonkeyPatch,
    asked_to_stop: Callable[[], None],
) -> None:
    find = PretendedDetector.__call__

    def stopping(self: PretendedDetector, images_rgb: Sequence[Any]) -> list[Detections]:
        if len(self.asked) == 1:
            asked_to_stop()
        return find(self, images_rgb)

    monkeypatch.setattr(PretendedDetector, "__call__", stopping)
    clip = write_clip(tmp_path / "a.mp4")
    chosen = predict_config(clip, detector="d", batch_images=2)
    with pytest.raises(PredictionStopped, match="stopped after 4 frames, which are in"):
        predict(chosen)
    out = Path(chosen.out)
    assert len(lines(out)) == 4
    assert len(read(out / "results.json")) == 6
    assert len(list(VideoReader(out / "video.mp4", max_megapixels=1))) == 4


def test_who_asks_to_stop_at_the_end_gets_all(
    predict_config: MakeConfig,
    tmp_path: Path,
    detector: PretendedDetector,
    monkeypatch: pytest.MonkeyPatch,
    asked_to_stop: Callable[[], None],
) -> None:
    find = PretendedDetector.__call__

    def stopping(self: PretendedDetector, images_rgb: Sequence[Any]) -> list[Detections]:
        asked_to_stop()
        return find(self, images_rgb)

    monkeypatch.setattr(PretendedDetector, "__call__", stopping)
    chosen = predict_config(write_clip(tmp_path / "a.mp4"), detector="d", batch_images=8)
    predict(chosen)
    assert len(lines(Path(chosen.out))) == 8


def test_an_error_leaves_no_half_of_a_file(
    predict_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    clip = write_clip(tmp_path / "a.mp4")
    monkeypatch.setattr("cpn.video.writer.VideoWriter.write", full)
    with pytest.raises(OSError, match="No space left"):
        predict(predict_config(clip))
    assert files(Path(predict_config(clip).out)) == []


class PretendedCamera:
    """Films until it is asked to stop."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __iter__(self) -> Iterator[VideoFrame]:
        for number in range(100):
            if number == 5:
                STOP.signal = signal.SIGINT
            yield VideoFrame(number, 0.1 * number, picture(number % 8))

    def close(self) -> None:
        pass


def test_a_camera_films_until_ctrl_c(
    predict_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, asked_to_stop: Callable[[], None]
) -> None:
    monkeypatch.setattr("cpn.video.camera.Camera", PretendedCamera)
    out = predict(predict_config("camera:3")).parent
    assert people_per_frame(out) == [1] * 6
    assert {line["file_name"] for line in lines(out)} == {"camera:3"}
    assert len(list(VideoReader(out / "video.mp4", max_megapixels=1))) == 6


def test_options_that_contradict_each_other(predict_config: MakeConfig, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    (tmp_path / "b.jpg").touch()
    with pytest.raises(UserError, match=r"boxes=b\.json is for photos; .* a detector finds"):
        predict(predict_config(clip, boxes="b.json"))
    with pytest.raises(UserError, match=r"tracking\.enabled=true is for videos and cameras"):
        predict(predict_config(tmp_path / "b.jpg", "tracking.enabled=true"))
    with pytest.raises(UserError, match="max_frames=3 is for videos and cameras"):
        predict(predict_config(tmp_path / "b.jpg", max_frames=3))
    with pytest.raises((UserError, ValidationError), match="both say where the people are"):
        predict_config(tmp_path, boxes="b.json", detector="d")
    with pytest.raises((UserError, ValidationError), match=r"needs tracking\.enabled=true"):
        predict_config(clip, "smoothing.enabled=true")


def test_nothing_stays_of_an_earlier_prediction(
    predict_config: MakeConfig, tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    out = predict(predict_config(clip)).parent
    predict(predict_config(tiny_coco.images / "001.png"))
    photo = ["frames.jsonl", "images.json", "pictures", "predictions.json", "results.json"]
    assert files(out) == photo
    predict(predict_config(clip, draw=False))
    assert files(out) == ["frames.jsonl", "images.json", "pictures", "results.json"]


@pytest.mark.parametrize(
    ("module", "extra", "options"),
    [("reader", "video", ()), ("person_tracks", "track", ("tracking.enabled=true",))],
)
def test_a_missing_extra_is_one_line(
    predict_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    extra: str,
    options: tuple[str, ...],
) -> None:
    clip = write_clip(tmp_path / "a.mp4")
    monkeypatch.delitem(sys.modules, f"cpn.video.{module}", raising=False)
    name = {"video": "av", "track": "edgefirst.tracker"}[extra]
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        UserError, match=rf"needs? the extra {extra}: pip install 'cpn-pose\[{extra}"
    ):
        predict(predict_config(clip, *options))
