"""What there are studies of."""

from collections.abc import Mapping

from cpn.ablation.subject import Subject, Wording
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.schema import TrainConfig


def _boxes_of_poses(config: TrainConfig) -> Mapping[str, str]:
    return {"boxes": config.detections.file or "ground truth"}


def _size_of_photos(config: TrainDetectorConfig) -> Mapping[str, str]:
    detector = config.detector
    size = f"shorter side {detector.min_size} pixels, longer one at most {detector.max_size}"
    return {"photos": f"{size}, unless a variant says otherwise"}


POSES = Subject(
    worker="cpn.tasks.ablation.worker",
    timer="cpn.tasks.ablation.cost",
    use_keys=("decode", "postprocess", "boxes", "detections", "evaluation"),
    facts=_boxes_of_poses,
    wording=Wording(
        ap="OKS AP",
        sample="one person",
        latency="of the network for one person, without flip test",
        has_keypoints=True,
    ),
)

DETECTORS = Subject(
    worker="cpn.tasks.ablation.detector_worker",
    timer="cpn.tasks.ablation.detector_cost",
    use_keys=(
        *("detector.min_size", "detector.max_size", "detector.max_people"),
        *("detector.score_threshold", "detector.nms_threshold"),
        "detector.retinanet.candidates_per_level",
        "detector.mask_rcnn.proposals.candidates_test",
        "detector.mask_rcnn.proposals.proposals_test",
    ),
    facts=_size_of_photos,
    wording=Wording(
        ap="Box AP",
        sample="the first validation photo",
        latency="from the first validation photo to its boxes",
        has_keypoints=False,
    ),
)
