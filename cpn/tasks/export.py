"""Writes a pose network for another runtime; the file gets its name once it does the same."""

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from cpn.benchmark.timing import time_interleaved
from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.export_schema import ExportConfig
from cpn.engine.distributed import DistributedContext
from cpn.engine.precision import Precision
from cpn.errors import UserError
from cpn.export.formats import SUFFIXES, write_format
from cpn.export.graph import PoseGraph
from cpn.export.quantization import quantize_onnx
from cpn.export.runtime_estimator import RuntimeEstimator
from cpn.export.runtimes import OnnxRuntime, Runtime, RuntimePoses, TorchRuntime
from cpn.models.folding import folded
from cpn.prediction.estimator import PoseEstimator
from cpn.tasks.data.export_people import ExportPeople, annotated_people, generated_people
from cpn.tasks.evaluation.pose_evaluation import evaluate_poses, evaluation_set

logger = logging.getLogger(__name__)

LATENCY_BATCHES = (1, 8)


class Exported(NamedTuple):
    """What came of it.

    Attributes:
        path: the file.
        difference: largest distance in pixels between its keypoints and PyTorch's; NaN where the
            format does not run here.
        metrics: AP and the like of PyTorch and of the file, if asked for.
    """

    path: Path
    difference: float
    metrics: dict[str, dict[str, float]]


def export(config: ExportConfig) -> Exported:
    """Writes, verifies, evaluates and times the graph.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        UserError: a library is missing, the annotations cannot be used, or the graph gives other
            keypoints than PyTorch; then there is no file.
    """
    out = _out(config)
    loaded = load_model_with_metadata(Path(config.checkpoint))
    if config.flip_test is not None:
        decode = loaded.config.decode.model_copy(update={"flip_test": config.flip_test})
        changed = loaded.config.model_copy(update={"decode": decode})
        loaded = LoadedModel(loaded.model, changed, loaded.skeleton, loaded.metrics)
    estimator = _estimator(loaded)
    input_config = loaded.config.input
    people = _people(config, loaded)
    reference = TorchRuntime(PoseGraph(estimator, input_config.size_hw, input_config.margin))
    expected = reference(*people)
    with _unverified(out) as file:
        runtime = _write(config, loaded, people, file)
        difference = float("nan")
        if runtime is None:
            logger.warning("%s: not verified: %s does not run here", out, config.format)
        else:
            difference = _verify(config, expected, runtime(*people), people, out)
    logger.info("written: %s", out)
    if runtime is None:
        return Exported(out, difference, {})
    _tell_latency(config, people, {"PyTorch": reference, config.format: runtime})
    metrics = _evaluate(config, loaded, estimator, runtime) if config.evaluate else {}
    return Exported(out, difference, metrics)


def _out(config: ExportConfig) -> Path:
    suffix = SUFFIXES[config.format]
    if config.out is None:
        return Path(config.checkpoint).with_suffix(suffix)
    if Path(config.out).suffix != suffix:
        raise UserError(f"out={config.out}: a file of format={config.format} ends in {suffix}")
    return Path(config.out)


def _estimator(loaded: LoadedModel) -> PoseEstimator:
    model = folded(loaded.model, loaded.config.input.size_hw)
    precision = Precision("fp32", torch.device("cpu"))
    return PoseEstimator.from_config(model, loaded.skeleton, loaded.config, precision=precision)


def _people(config: ExportConfig, loaded: LoadedModel) -> ExportPeople:
    if config.annotations is None or config.images is None:
        logger.info("verified on generated people; on yours with annotations=… images=…")
        return generated_people(loaded.config.input, config.people)
    annotations, images = Path(config.annotations), Path(config.images)
    return annotated_people(loaded.config.input, annotations, images, limit=config.people)


def _write(
    config: ExportConfig, loaded: LoadedModel, people: ExportPeople, path: Path
) -> Runtime | None:
    input_config = loaded.config.input
    graph = PoseGraph(
        _estimator(loaded),
        input_config.size_hw,
        input_config.margin,
        half=config.precision == "fp16",
    )
    two = people.first(2)  # what a tracer sees one of, it takes for a constant
    example = (torch.from_numpy(two.crops), torch.from_numpy(two.boxes_xyxy))
    metadata = _metadata(config, loaded)
    if config.precision != "int8":
        return write_format(config.format, graph, example, path, metadata)
    plain = path.with_name("fp32.onnx")
    write_format("onnx", graph, example, plain, metadata)
    quantize_onnx(plain, path, people.crops, people.boxes_xyxy)
    return OnnxRuntime(path)


def _metadata(config: ExportConfig, loaded: LoadedModel) -> dict[str, str]:
    """What one needs to crop, to draw and to score, as JSON."""
    height, width = loaded.config.input.size_hw
    return {
        "cpn.input": json.dumps(
            {"height": height, "width": width, "margin": loaded.config.input.margin}
        ),
        "cpn.skeleton": json.dumps(loaded.skeleton.to_dict()),
        "cpn.precision": json.dumps(config.precision),
    }


@contextmanager
def _unverified(out: Path) -> Iterator[Path]:
    """A file of another name in a folder beside; its files move to `out` when all is well."""
    folder = out.with_name(f".{out.name}.unverified")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder / out.name
        for file in sorted(folder.glob(f"{out.stem}.*")):
            file.replace(out.with_name(file.name))
    finally:
        shutil.rmtree(folder)


def _verify(
    config: ExportConfig,
    expected: RuntimePoses,
    found: RuntimePoses,
    people: ExportPeople,
    out: Path,
) -> float:
    """The largest distance of all keypoints, which fp32 may not exceed."""
    distances = np.linalg.norm(found.keypoints - expected.keypoints, axis=-1)
    largest, middle = float(distances.max()), float(np.median(distances))
    logger.info(
        "%d people: keypoints differ from PyTorch's by %.4f px at most, %.4f in the middle; scores"
        " by %.4f at most",
        *(len(people.crops), largest, middle, np.abs(found.scores - expected.scores).max()),
    )
    if config.precision == "fp32" and not largest <= config.tolerance:  # NaN is neither
        person = int(distances.max(axis=1).argmax())
        raise UserError(
            f"{out}: not written: its keypoints differ from PyTorch's by {largest:.4f} px (person"
            f" {person} of {len(distances)}), more than tolerance={config.tolerance:g}; take"
            " another format, or raise the tolerance if that is near enough"
        )
    return largest


def _tell_latency(config: ExportConfig, people: ExportPeople, runtimes: dict[str, Runtime]) -> None:
    """Milliseconds per person of both, in turn in one run."""
    if not config.rounds:
        return
    for size in LATENCY_BATCHES:
        some = people.first(size)
        cases = {name: partial(_work, runtime, some) for name, runtime in runtimes.items()}
        timings = time_interleaved(cases, rounds=config.rounds)
        told = ", ".join(f"{name} {1000 * timings.cost(name).median:.1f}" for name in cases)
        threads = torch.get_num_threads()
        logger.info("ms per person, %d at a time, %d threads: %s", size, threads, told)


def _work(runtime: Runtime, people: ExportPeople) -> int:
    return len(runtime(*people).scores)


def _evaluate(
    config: ExportConfig, loaded: LoadedModel, estimator: PoseEstimator, runtime: Runtime
) -> dict[str, dict[str, float]]:
    """AP of both on all people of the annotations, by ground-truth boxes."""
    split = loaded.config.data.val.model_copy(
        update={"annotations": config.annotations, "images": config.images, "limit": None}
    )
    data = loaded.config.data.model_copy(update={"val": split})
    detections = loaded.config.detections.model_copy(update={"file": None})
    asked = loaded.config.model_copy(
        update={"data": data, "boxes": "ground_truth", "detections": detections}
    )
    context = DistributedContext()
    exported = RuntimeEstimator(
        *(estimator.model, estimator.skeleton, estimator.decode, estimator.family),
        estimator.precision,
        runtime=runtime,
        margin=loaded.config.input.margin,
    )
    found = {}
    for name, each in (("PyTorch", estimator), (config.format, exported)):
        people = evaluation_set(asked, context, skeleton=loaded.skeleton, batch_size=16, workers=0)
        found[name] = evaluate_poses(each, people.batches, people.scorer, context).metrics
        logger.info("%s: AP %.4f, AP50 %.4f", name, found[name]["AP"], found[name]["AP50"])
    change = found[config.format]["AP"] - found["PyTorch"]["AP"]
    logger.info("AP changes by %+.4f", change)
    return found
