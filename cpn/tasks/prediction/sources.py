"""Where prediction's frames come from: a photo, a folder of photos, a video file, a camera."""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Protocol

from cpn.config.predict_schema import PredictConfig
from cpn.data.image_files import PhotoError
from cpn.detection.detections import Detections, as_detections
from cpn.errors import UserError
from cpn.tasks.prediction.photo_boxes import PERSON, Image, read_boxes, read_photo
from cpn.video.frames import VideoFrame

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts"),
        *(".3gp", ".wmv", ".flv", ".ogv", ".gif"),
    }
)
CAMERA = re.compile(r"camera(?::(\d{1,3}))?")
CAMERA_RATE = Fraction(30)


@dataclass(frozen=True, eq=False)
class Frame:
    """A photo, or a frame of a video.

    Attributes:
        number: 0, 1, ... in the source.
        image_id: in COCO results.
        file_name: of the photo; of a video that of the whole.
        time: seconds after the first frame; None of a photo.
        image_rgb: (H, W, 3) upright; None where it cannot be read.
        problem: why not.
        people: given boxes; None where people are to be found.
    """

    number: int
    image_id: int
    file_name: str
    time: float | None
    image_rgb: Image | None
    problem: str | None = None
    people: Detections | None = None


class Source(Protocol):
    """Frames, one after the other, and what is known of all of them.

    Attributes:
        unit: what a frame is called.
        total: how many there are; None where nobody knows.
        frame_rate: per second; None of photos.
        batch: how many at once, at most.
        category_id: of the people, in COCO results.
    """

    unit: str
    total: int | None
    frame_rate: Fraction | None
    batch: int
    category_id: int

    def __iter__(self) -> Iterator[Frame]: ...


def open_source(config: PredictConfig) -> AbstractContextManager[Source]:
    """The frames that a config names; to be closed after use.

    Raises:
        UserError: there is nothing of the kind, or the options do not go with it.
        FileNotFoundError: there is no such box file.
    """
    path = Path(config.source)
    camera = CAMERA.fullmatch(config.source)
    if camera is None and path.suffix.lower() not in VIDEO_SUFFIXES:
        _refuse_video_options(config)
        return nullcontext(PhotoSource(config, path))
    if config.boxes is not None:
        raise UserError(
            f"boxes={config.boxes} is for photos; of source={config.source} a detector finds the"
            " people in every frame: detector=<model.safetensors>"
        )
    if camera is not None:
        return CameraSource(config, int(camera[1] or 0))
    if not path.is_file():
        raise UserError(f"source={path}: no such file")
    return VideoSource(config, path)


def _refuse_video_options(config: PredictConfig) -> None:
    for name, given in (
        ("tracking.enabled=true", config.tracking.enabled),
        (f"max_frames={config.max_frames}", config.max_frames is not None),
    ):
        if given:
            raise UserError(
                f"{name} is for videos and cameras, source={config.source} is none; known videos"
                f" are {sorted(VIDEO_SUFFIXES)}"
            )


class PhotoSource:
    """A photo, or the photos of a folder in the order of their names."""

    unit = "photos"
    frame_rate: Fraction | None = None

    def __init__(self, config: PredictConfig, path: Path) -> None:
        self._paths = find_images(path)
        self._given = (
            read_boxes(Path(config.boxes), path, self._paths) if config.boxes is not None else {}
        )
        self._max_megapixels = config.max_megapixels
        self._skip = config.on_error == "skip"
        self.total: int | None = len(self._paths)
        self.batch = config.batch_images
        self.category_id = next((boxes.category_id for boxes in self._given.values()), PERSON)

    def __iter__(self) -> Iterator[Frame]:
        """The photos.

        Raises:
            UserError: one cannot be read, or has another size than its boxes; the former is only
                told with on_error=skip.
        """
        for number, path in enumerate(self._paths):
            given = self._given.get(path)
            image_id = given.image_id if given else number + 1
            try:
                image = read_photo(path, given, max_megapixels=self._max_megapixels)
            except PhotoError as error:
                if not self._skip:
                    raise
                logger.warning("%s", error)
                yield Frame(number, image_id, path.name, None, None, error.reason)
                continue
            people = as_detections(given.boxes_xyxy) if given else None
            yield Frame(number, image_id, path.name, None, image, people=people)


def find_images(source: Path) -> Sequence[Path]:
    """The image itself, or the images of a folder in the order of their names.

    Raises:
        UserError: there is no such file or folder, or no image in it.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UserError(f"source={source}: no such file or folder")
    found = sorted(path for path in source.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise UserError(f"source={source}: no image there; known are {sorted(IMAGE_SUFFIXES)}")
    return found


class _MovingSource:
    """What a video and a camera have in common."""

    unit = "frames"
    category_id = PERSON

    def __init__(self, config: PredictConfig, file_name: str) -> None:
        self._file_name = file_name
        self._max_frames = config.max_frames

    def _frames(self, frames: Iterator[VideoFrame]) -> Iterator[Frame]:
        for number, time, image, problem in islice(frames, self._max_frames):
            yield Frame(number, number + 1, self._file_name, time, image, problem)


class VideoSource(_MovingSource, AbstractContextManager["VideoSource"]):
    """The frames of a video file."""

    def __init__(self, config: PredictConfig, path: Path) -> None:
        super().__init__(config, path.name)
        from cpn.video.reader import VideoReader  # noqa: PLC0415 - needs an extra

        self._reader = VideoReader(path, max_megapixels=config.max_megapixels)
        self._path = path
        self._skip = config.on_error == "skip"
        declared = self._reader.num_frames
        self.total = min(filter(None, (declared, config.max_frames)), default=None)
        self.frame_rate: Fraction | None = self._reader.frame_rate
        self.batch = config.batch_images

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames; those that are damaged keep their number.

        Raises:
            UserError: nothing can be decoded, or, after all that is there, the video is cut off;
                the latter is only told with on_error=skip.
        """
        lost = count = 0
        for frame in self._frames(iter(self._reader)):
            count += 1
            lost += frame.image_rgb is None
            yield frame
        if lost:
            logger.warning(
                "%s: %d of %d frames are damaged or too large and have no people",
                *(self._path, lost, count),
            )
        if self._reader.cut_off:
            problem = (
                f"{self._path}: the video is cut off: {count} of {self._reader.num_frames} frames"
                " are there"
            )
            if not self._skip:
                raise CutOffError(
                    f"{problem}, and what was found in them is written; fetch the file again, or"
                    " take it as it is with on_error=skip"
                )
            logger.warning("%s", problem)


class CutOffError(UserError):
    """A video has fewer frames than it declares; those that it has were given."""


class CameraSource(_MovingSource, AbstractContextManager["CameraSource"]):
    """The frames of a camera, one by one, until somebody stops it."""

    def __init__(self, config: PredictConfig, index: int) -> None:
        super().__init__(config, f"camera:{index}")
        from cpn.video.camera import Camera  # noqa: PLC0415 - beside the reader of files

        self._camera = Camera(index)
        self.total = config.max_frames
        self.frame_rate: Fraction | None = CAMERA_RATE
        self.batch = 1

    def __exit__(self, *_: object) -> None:
        self._camera.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames.

        Raises:
            UserError: the camera gives none.
        """
        return self._frames(iter(self._camera))
