"""A page on this machine to try a model: builds what `cpn.demo` serves."""

import math
from pathlib import Path

from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.demo_schema import DemoConfig
from cpn.demo.analysis import Analyst
from cpn.demo.page import Facts
from cpn.demo.serving import listen, serve
from cpn.detection.detections import PersonDetector
from cpn.engine.distributed import select_device
from cpn.engine.precision import Precision, inference_precision
from cpn.prediction.person_detector import TrainedDetector
from cpn.prediction.predictor import Predictor


def demo(config: DemoConfig) -> None:
    """Serves the page on 127.0.0.1 until Ctrl-C.

    Raises:
        FileNotFoundError: there is no such checkpoint or detector.
        UserError: one of them is not ours, the port is taken, or the extra `demo` is missing.
    """
    with listen(config.port) as listening:
        serve(*build_demo(config), listening)


def build_demo(config: DemoConfig) -> tuple[Analyst, Facts]:
    """The networks, warm, and what the page tells of them.

    Raises:
        FileNotFoundError: there is no such checkpoint or detector.
        UserError: one of them is not ours, or the device is not there.
    """
    loaded = load_model_with_metadata(Path(config.checkpoint))
    device = select_device(config.device)
    precision = Precision(inference_precision(config.precision, device), device)
    predictor = Predictor.from_model(
        loaded, detector=load_detector(config, precision), precision=precision
    )
    analyst = Analyst(predictor, config.max_megapixels)
    analyst.warm_up()
    facts = Facts(
        [*model_facts(config, loaded), ("Device", f"{device}, {precision.name}")],
        config.detector is not None,
        config.max_upload_mib,
        config.max_megapixels,
        config.keypoint_threshold,
    )
    return analyst, facts


def load_detector(config: DemoConfig, precision: Precision) -> PersonDetector | None:
    """The person detector of a config, if it names one."""
    if config.detector is None:
        return None
    return TrainedDetector.from_checkpoint(
        config.detector,
        device=precision.device,
        precision=precision.name,
        score_threshold=config.detector_threshold,
        max_people=config.max_people,
    )


def model_facts(config: DemoConfig, loaded: LoadedModel) -> list[tuple[str, str]]:
    """What the page tells of the model files."""
    model, crops = loaded.model, loaded.config.input
    levels = ", ".join(name.upper() for name in model.level_names)
    network = f"{loaded.config.backbone.name.removeprefix('timm:')}, levels {levels}"
    facts = [
        ("Model", config.checkpoint),
        ("Network", network if model.refine_net is None else f"{network}, RefineNet"),
        ("Input", f"{crops.height} x {crops.width} pixels per person"),
        ("Person detector", config.detector or "none: the whole photo is one person"),
    ]
    average_precision = loaded.metrics.get("AP", math.nan)
    if math.isfinite(average_precision):
        facts.insert(3, ("AP when it was trained", f"{average_precision:.3f}"))
    return facts
