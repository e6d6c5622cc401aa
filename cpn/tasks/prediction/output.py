"""What prediction leaves behind: JSON files that grow with the frames, pictures, a video."""

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np

from cpn.files.atomic import GrowingFile, write_atomically
from cpn.prediction.poses import Person, Poses
from cpn.prediction.visualization import Image, draw_skeletons, draw_tracks
from cpn.skeleton import Skeleton
from cpn.tasks.prediction.sources import Frame

if TYPE_CHECKING:
    from cpn.video.writer import VideoWriter


class RecordFile:
    """JSON records written one by one to a file that appears when it is complete.

    Args:
        path: the file.
        lines: one record per line (JSON Lines); else one list of all, as JSON.

    Attributes:
        path: the same.
    """

    def __init__(self, path: Path, *, lines: bool = False) -> None:
        self.path = path
        self._growing = GrowingFile(path)
        self._file = self._growing.temporary.open("w", encoding="utf-8")
        self._lines = lines
        self._count = 0

    def add(self, record: Mapping[str, Any]) -> None:
        """Adds a record.

        Raises:
            OSError: the disk is full.
        """
        text = json.dumps(record, allow_nan=False)
        start = "" if self._lines else "[\n" if self._count == 0 else ",\n"
        with self._named_errors():
            self._file.write(f"{start}{text}" + ("\n" if self._lines else ""))
        self._count += 1

    def commit(self) -> None:
        """Ends the file and gives it its name.

        Raises:
            OSError: the disk is full; there is no file then.
        """
        with self._named_errors():
            if not self._lines:
                self._file.write("\n]\n" if self._count else "[]\n")
            self._file.close()
        self._growing.commit()

    def discard(self) -> None:
        """Leaves no file; after `commit` this does nothing."""
        with suppress(OSError):  # what could not be written is not wanted any more
            self._file.close()
        self._growing.discard()

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Inside, an error of the disk tells the file."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.path)) from error


# Photos and videos leave different ones.
FILES = ("frames.jsonl", "results.json", "images.json", "predictions.json", "video.mp4")


class PredictionOutput:
    """All files of one prediction.

    JSON files and a video appear together when it ends well, or is stopped; pictures of photos one
    by one, as they are drawn. Files of an earlier prediction into the folder that this one does not
    write are deleted: they would tell of something else. Pictures of other photos stay.

    Args:
        folder: where to; it is made.
        skeleton: to draw.
        frame_rate: of a video, whose pictures become `video.mp4`; None: a picture per photo.
        category_id: of people, in COCO results.
        draw: whether there are pictures or a video at all.
        keypoint_threshold: keypoints below it are not drawn.

    Attributes:
        records_path: what a person reads first: `predictions.json` of photos, `frames.jsonl` of a
            video.
    """

    def __init__(
        self,
        folder: Path,
        skeleton: Skeleton,
        *,
        frame_rate: Fraction | None,
        category_id: int,
        draw: bool,
        keypoint_threshold: float,
    ) -> None:
        self._folder = folder
        self._skeleton = skeleton
        self._category_id = category_id
        self._draw = draw
        self._threshold = keypoint_threshold
        is_video = frame_rate is not None
        self.records_path = folder / ("frames.jsonl" if is_video else "predictions.json")
        self._parts: list[RecordFile | VideoWriter] = []
        with ExitStack() as undo:
            undo.callback(self._discard)
            self._video: VideoWriter | None = None
            if frame_rate is not None and draw:
                self._video = _open_video(folder, frame_rate)
                self._parts.append(self._video)
            self._frames = self._open("frames.jsonl", lines=True)
            self._results = self._open("results.json")
            self._images = self._open("images.json")
            self._predictions = None if is_video else self._open("predictions.json")
            undo.pop_all()

    def _open(self, name: str, *, lines: bool = False) -> RecordFile:
        file = RecordFile(self._folder / name, lines=lines)
        self._parts.append(file)
        return file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leaves nothing of what was not committed."""
        self._discard()

    def _discard(self) -> None:
        for part in self._parts:
            part.discard()

    def add(self, frame: Frame, poses: Poses | None) -> None:
        """Writes what was found in a frame; None where the frame could not be read.

        Raises:
            OSError: the disk is full.
        """
        people = [] if poses is None else poses.people
        self._frames.add(_frame_record(frame, people))
        self._images.add(_image_record(frame))
        for person in people:
            self._results.add(self._result(frame, person))
            if self._predictions is not None:
                self._predictions.add(_prediction(frame, person))
        if self._draw and frame.image_rgb is not None and poses is not None:
            self._show(frame, self._picture(frame.image_rgb, poses))

    def commit(self) -> None:
        """Gives all files their names.

        Raises:
            OSError: the disk is full.
        """
        for part in self._parts:
            part.commit()
        for name in set(FILES) - {part.path.name for part in self._parts}:
            (self._folder / name).unlink(missing_ok=True)

    def _picture(self, image_rgb: Image, poses: Poses) -> Image:
        shown = np.where(poses.scores >= self._threshold, poses.scores, 0.0)
        picture = draw_skeletons(image_rgb, poses.keypoints, shown, self._skeleton)
        if poses.tracks is not None:
            picture = draw_tracks(picture, poses.boxes_xyxy, poses.tracks)
        return picture

    def _show(self, frame: Frame, picture: Image) -> None:
        if self._video is not None:
            self._video.write(picture, frame.time or 0.0)
            return
        ok, content = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        assert ok, "uint8 RGB always encodes"
        path = self._folder / "pictures" / f"{frame.file_name}.png"
        write_atomically(path, content.tobytes(), sync=False)

    def _result(self, frame: Frame, person: Person) -> dict[str, Any]:
        return {
            "image_id": frame.image_id,
            "category_id": self._category_id,
            "keypoints": _triples(person),
            "score": person.score,
            "bbox": _xywh(person),
        }


def _open_video(folder: Path, frame_rate: Fraction) -> "VideoWriter":
    from cpn.video.writer import VideoWriter  # noqa: PLC0415 - needs an extra

    return VideoWriter(folder / "video.mp4", frame_rate=frame_rate)


def _frame_record(frame: Frame, people: list[Person]) -> dict[str, Any]:
    return {
        "frame": frame.number,
        "time": frame.time,
        "file_name": frame.file_name,
        "image_id": frame.image_id,
        "problem": frame.problem,
        "people": [
            {
                "track": person.track,
                "bbox": _xywh(person),
                "box_score": person.box_score,
                "score": person.score,
                "keypoints": _triples(person),
            }
            for person in people
        ],
    }


def _image_record(frame: Frame) -> dict[str, Any]:
    height, width = (None, None) if frame.image_rgb is None else frame.image_rgb.shape[:2]
    record = {"id": frame.image_id, "file_name": frame.file_name}
    if frame.time is not None:
        record["frame"] = frame.number
    return record | {"width": width, "height": height}


def _prediction(frame: Frame, person: Person) -> dict[str, Any]:
    return {
        "file_name": frame.file_name,
        "bbox": _xywh(person),
        "keypoints": _triples(person),
        "score": float(person.scores.mean()),
    }


def _xywh(person: Person) -> list[float]:
    left, top, right, bottom = person.box_xyxy.tolist()
    return [left, top, right - left, bottom - top]


def _triples(person: Person) -> list[float]:
    """x, y, score per keypoint, flat."""
    values: list[float] = np.column_stack([person.keypoints, person.scores]).ravel().tolist()
    return values
