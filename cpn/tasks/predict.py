"""Photos, a video or a camera in, keypoints and pictures out."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

from cpn.config.predict_schema import PredictConfig
from cpn.detection.detections import PersonDetector
from cpn.engine.distributed import select_device
from cpn.engine.precision import inference_precision
from cpn.prediction.person_detector import TrainedDetector
from cpn.prediction.predictor import Predictor
from cpn.process.interruption import STOP, Interrupted
from cpn.tasks.prediction.output import PredictionOutput
from cpn.tasks.prediction.person_following import PersonFollower
from cpn.tasks.prediction.progress import PredictionProgress
from cpn.tasks.prediction.sources import CameraSource, CutOffError, Frame, Source, open_source

logger = logging.getLogger(__name__)


class PredictionStopped(Interrupted):
    """Prediction was asked to stop; what it had found is written."""

    advice = "the same command begins again"


def predict(config: PredictConfig) -> Path:
    """Finds people and their keypoints, and writes them to `config.out`.

    `frames.jsonl` has a line per photo or frame, `results.json` COCO keypoint results, whose image
    ids are in `images.json`. Of photos there are `predictions.json` and a picture with skeletons
    each (of `a.jpg` it is `pictures/a.jpg.png`), of a video or camera `video.mp4`.

    Photos and videos are read upright. Keypoints are in pixel-index coordinates of the upright
    image, boxes in edge coordinates (see `cpn.geometry.crop`).

    Returns:
        The path of `predictions.json`, or of a video's `frames.jsonl`.

    Raises:
        FileNotFoundError: there is no such checkpoint, detector or box file.
        UserError: nothing that can be read at the source, options that do not go with it, an extra
            that is not installed, boxes that fit no image or are of another size than theirs, or
            predictions that are not finite. Of a video that is cut off what there is is written.
        PredictionStopped: a signal said to stop; what was found so far is written.
    """
    with open_source(config) as source:
        follower = PersonFollower.from_config(config)
        return _predict_all(config, source, _load_predictor(config), follower)


def _load_predictor(config: PredictConfig) -> Predictor:
    return Predictor.from_checkpoint(
        config.checkpoint,
        detector=None if config.detector is None else _detector(config, config.detector),
        device=config.device,
        precision=config.precision,
        batch_size=config.batch_size,
    )


def _detector(config: PredictConfig, path: str) -> PersonDetector:
    return TrainedDetector.from_checkpoint(
        path,
        device=config.device,
        precision=inference_precision(config.precision, select_device(config.device)),
        score_threshold=config.detections.score_threshold,
        max_people=config.detections.max_people,
    )


def _predict_all(
    config: PredictConfig, source: Source, predictor: Predictor, follower: PersonFollower | None
) -> Path:
    out = Path(config.out)
    cut_off: CutOffError | None = None
    with PredictionOutput(
        out,
        predictor.skeleton,
        frame_rate=source.frame_rate,
        category_id=source.category_id,
        draw=config.draw,
        keypoint_threshold=config.keypoint_threshold,
    ) as output:
        with PredictionProgress(source.unit, source.total) as progress:
            try:
                for frames in _batches(source, config.max_megapixels, progress):
                    _predict_batch(frames, predictor, follower, output, progress)
            except CutOffError as error:
                cut_off = error
        output.commit()
    logger.info("%s", progress.summary())
    logger.info("written: %s and more in %s", output.records_path, out)
    if cut_off is not None:
        raise cut_off
    # A camera has no end, and of what is complete nothing was stopped.
    complete = isinstance(source, CameraSource) or progress.frames == source.total
    if STOP.is_made() and not complete:
        raise PredictionStopped(
            f"stopped after {progress.frames} {source.unit}, which are in {out}"
        )
    return output.records_path


def _batches(
    source: Source, max_megapixels: float, progress: PredictionProgress
) -> Iterator[list[Frame]]:
    """Frames to be worked on together: so many, or until they have more pixels than one may."""
    frames: list[Frame] = []
    pixels = 0
    remaining = iter(source)
    try:
        while not STOP.is_made():
            with progress.spent_on("reading"):
                frame = next(remaining, None)
            if frame is None:
                break
            frames.append(frame)
            pixels += 0 if frame.image_rgb is None else frame.image_rgb[..., 0].size
            if len(frames) == source.batch or pixels > max_megapixels * 1e6:
                yield frames
                frames, pixels = [], 0
    except CutOffError:
        if frames:
            yield frames
        raise
    if frames:
        yield frames


def _predict_batch(
    frames: Sequence[Frame],
    predictor: Predictor,
    follower: PersonFollower | None,
    output: PredictionOutput,
    progress: PredictionProgress,
) -> None:
    images = [frame.image_rgb for frame in frames if frame.image_rgb is not None]
    given = [frame.people for frame in frames if frame.people is not None]
    with progress.spent_on("finding people"):
        people = given or predictor.detect(images)
    with progress.spent_on("poses"):
        poses = iter(predictor.pose(images, people, found=predictor.has_detector))
    for frame in frames:
        each = None if frame.image_rgb is None else next(poses)
        if follower is not None and each is not None and frame.time is not None:
            with progress.spent_on("tracking"):
                each = follower(each, frame.time)
        with progress.spent_on("writing"):
            output.add(frame, each)
        progress.advance(0 if each is None else len(each.scores))
