"""A pose network of random weights, a detector that finds what it is told to, and photos."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from hydra import compose, initialize_config_dir

from cpn.build import build_model, save_model
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.demo.analysis import Analyst
from cpn.demo.page import Facts
from cpn.detection.detections import Detections
from cpn.prediction.predictor import Predictor
from cpn.skeleton import COCO_17

CONFIGS = Path(__file__).parents[2] / "configs"
OWN = "http://127.0.0.1"
Image = npt.NDArray[np.uint8]


def write_checkpoint(path: Path, *overrides: str) -> Path:
    """A narrow network at 64 x 64, as a model file."""
    given = [
        *("input.height=64", "input.width=64", "backbone=resnet10", "backbone.width=0.125"),
        *("backbone.weights=none", "model=cpn_small", "model.pyramid.channels=8", *overrides),
    ]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = validate(compose("train", overrides=given), TrainConfig)
    torch.manual_seed(0)
    model = build_model(config, num_keypoints=17)
    save_model(path, model, config=config, skeleton=COCO_17, metrics={"AP": 0.25})
    return path


class FixedDetector:
    """Finds the same people in every photo."""

    def __init__(self, *boxes_xyxy: Sequence[float]) -> None:
        self.boxes = np.array(boxes_xyxy, dtype=np.float64).reshape(-1, 4)

    def __call__(self, images_rgb: Sequence[Image]) -> list[Detections]:
        return [Detections(self.boxes, np.linspace(0.9, 0.5, len(self.boxes))) for _ in images_rgb]


def analyst_of(
    checkpoint: Path, detector: FixedDetector | None = None, *, max_megapixels: float = 1
) -> Analyst:
    predictor = Predictor.from_checkpoint(checkpoint, detector=detector, device="cpu")
    return Analyst(predictor, max_megapixels)


def facts_of(*, has_detector: bool = False, max_upload_mib: float = 1) -> Facts:
    return Facts([("Model", "<b>tiny</b>")], has_detector, max_upload_mib, 1, 0.0)


def photo(width: int = 96, height: int = 64) -> Image:
    """Smooth enough for a JPEG to be near it; bright above, dark below."""
    rows, columns = np.mgrid[:height, :width]
    red, green = 255 - 250 * rows / height, 250 * columns / width
    return np.dstack([red, green, np.full_like(red, 90)]).astype(np.uint8)


def file_of(image: Image, suffix: str = ".jpg") -> bytes:
    content: bytes = cv2.imencode(suffix, image[..., ::-1])[1].tobytes()
    return content


def shown(content: bytes) -> Image:
    """The pixels of a picture that was made for the page."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(image, dtype=np.uint8)
