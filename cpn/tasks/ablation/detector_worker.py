"""Trains and scores a detector: `python -m cpn.tasks.ablation.detector_worker ORDER`."""

from functools import partial

from cpn.ablation.results import BOX_NUMBERS, RunFigures
from cpn.build_detector import LoadedDetector, build_detector, load_detector
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.detection.detector import Detector
from cpn.engine.distributed import distributed_context
from cpn.evaluation.coco_boxes import match_boxes
from cpn.prediction.person_detector import Look, set_inference
from cpn.tasks.ablation.orders import TrainingOrder, UseOrder, obey
from cpn.tasks.ablation.work import Craft, Evaluated, work
from cpn.tasks.data.detection_data import read_validation_photos
from cpn.tasks.evaluation.detection_evaluation import EpochDetection
from cpn.tasks.train_detector import train_detector


def evaluate(
    order: UseOrder[TrainDetectorConfig], loaded: LoadedDetector, resamples: int
) -> Evaluated:
    """Scores a trained network as the order wants it to be used; see `Craft.evaluate`."""
    config, engine = order.use, order.use.engine
    with distributed_context(engine.device, timeout_seconds=engine.timeout_seconds) as context:
        evaluation = EpochDetection.create(read_validation_photos(config), config, context)
        found = evaluation.detect(used(loaded.model, config).to(context.device))
    photos = evaluation.photos
    ids = photos.photos.image_ids.tolist()
    matches = match_boxes(photos.truth, found.records, image_ids=ids).coco.matches()
    figures = RunFigures.of(order.identity, matches, {}, resamples=resamples, numbers=BOX_NUMBERS)
    return Evaluated(found.records, found.metrics, figures)


def used(trained: Detector, config: TrainDetectorConfig) -> Detector:
    """The same weights in a network that looks at photos, and keeps boxes, as a config says.

    Its mask and keypoint heads are switched off.
    """
    model = build_detector(config.backbone, config.detector, weights="none")
    model.load_state_dict(trained.state_dict())
    set_inference(model, Look(), score_threshold=None, max_people=None)
    return model.eval()


CRAFT = Craft(train=train_detector, load=load_detector, evaluate=evaluate)

if __name__ == "__main__":
    obey(TrainingOrder[TrainDetectorConfig], partial(work, craft=CRAFT))
