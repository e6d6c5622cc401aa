"""Measures what a detector costs: `python -m cpn.tasks.ablation.detector_cost ORDER`."""

from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.flop_counter import FlopCounterMode

from cpn.build_detector import build_detector
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.data.annotated_photos import AnnotatedPhotos
from cpn.data.image_files import read_annotated_image
from cpn.data.photo_batches import WholePhotos
from cpn.detection.detections import Detections
from cpn.detection.detector import Detector
from cpn.engine.distributed import DistributedContext
from cpn.errors import UserError
from cpn.prediction.person_detector import Look, find_people, set_inference
from cpn.tasks.ablation.orders import TimingOrder, obey
from cpn.tasks.ablation.timing import Timed, Use, measure
from cpn.tasks.data.detection_data import (
    read_training_photos,
    read_validation_photos,
    training_photo_batches,
)
from cpn.tasks.evaluation.detection_evaluation import EpochDetection
from cpn.tasks.train_detector import detection_loss

Uint8Array = npt.NDArray[np.uint8]


def assemble(config: TrainDetectorConfig, context: DistributedContext) -> Timed:
    """Reads the photos and builds the network; see `measure`."""
    photos = read_training_photos(config)
    model = build_detector(config.backbone, config.detector).to(context.device)
    return Timed(
        model=model,
        loader=training_photo_batches(photos, config, context),
        loss=detection_loss,
        use=partial(_use, config, context, model),
    )


def _use(config: TrainDetectorConfig, context: DistributedContext, model: Detector) -> Use:
    validation = read_validation_photos(config)
    evaluation = EpochDetection.create(validation, config, context)
    # Boxes are what is evaluated: other heads are switched off.
    set_inference(model.eval(), Look(), score_threshold=None, max_people=None)
    photo = _first(validation)

    def find(images: Sequence[Uint8Array]) -> list[Detections]:
        device, precision = context.device, evaluation.precision
        return find_people(model, images, device=device, precision=precision)

    def some(batches: Iterable[WholePhotos]) -> int:
        return sum(len(find(batch.images)) for batch in batches)

    return Use(
        gflops=multiply_adds(model, photo, context.device) / 1e9,
        once=lambda: find([photo]),
        some=some,
        batches=evaluation.photos.batches,
        number=len(validation),
    )


def _first(photos: AnnotatedPhotos) -> Uint8Array:
    if not len(photos):
        raise UserError(f"data.val: {photos.source} has no photos")
    return np.ascontiguousarray(read_annotated_image(photos[0])[..., :3])


@torch.no_grad()
def multiply_adds(model: Detector, image_rgb: Uint8Array, device: torch.device) -> int:
    """Of a detector in evaluation for one photo, convolutions and products alone.

    Of two stages, the second one's are of as many regions as the first one proposes: while it is
    not trained, as many as it may.

    Args:
        model: in evaluation mode.
        image_rgb: (H, W, 3) uint8.
        device: of the model.
    """
    pixels = torch.from_numpy(image_rgb).to(device).permute(2, 0, 1).float() / 255
    counter = FlopCounterMode(display=False)
    with counter:
        model([pixels])
    return int(counter.get_total_flops()) // 2


if __name__ == "__main__":
    obey(TimingOrder[TrainDetectorConfig], partial(measure, assemble=assemble))
