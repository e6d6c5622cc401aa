"""A model card: what a model file holds, how it was made and how good it is."""

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml

from cpn.build import LoadedModel, load_model_with_metadata
from cpn.config.model_card_schema import ModelCardConfig
from cpn.errors import UserError, first_line, one_line
from cpn.files.atomic import write_atomically
from cpn.models.statistics import model_statistics
from cpn.report.text_table import markdown_table

logger = logging.getLogger(__name__)

HEADLINE = ("AP", "AP50", "AP75", "APM", "APL", "AR", "PCK")
Bounds = Annotated[list[float | None], msgspec.Meta(min_length=2, max_length=2)]


class _Analysis(msgspec.Struct):
    intervals: dict[str, Bounds] = {}
    keypoints: dict[str, dict[str, float | None]] = {}


class _Evaluation(msgspec.Struct):
    """What the card takes from a metrics file."""

    numbers: dict[str, float]
    boxes: str
    analysis: _Analysis


def write_model_card(config: ModelCardConfig) -> Path:
    """Writes the card of a pose network.

    Returns:
        The Markdown file.

    Raises:
        FileNotFoundError: there is no such model or metrics file.
        UserError: it is no model file of ours, or no metrics file of scripts/evaluate.py.
        OSError: the card cannot be written.
    """
    path = Path(config.checkpoint)
    loaded = load_model_with_metadata(path)
    evaluation = None if config.evaluation is None else _read_evaluation(Path(config.evaluation))
    title = one_line(config.name or path.stem)
    sections = [
        _front_matter(config, loaded, evaluation, title),
        f"# {title}",
        _summary(loaded),
        *("## Use", _use(path)),
        *("## Network", _network(loaded)),
        *("## Training", _training(loaded)),
        *("## Results", _results(loaded, evaluation)),
        *("## Keypoints", _keypoints(loaded, evaluation)),
        *("## Limits", _limits(loaded)),
    ]
    out = Path(config.out) if config.out is not None else path.with_suffix(".md")
    write_atomically(out, ("\n\n".join(sections) + "\n").encode())
    logger.info("written: %s", out)
    return out


def _read_evaluation(path: Path) -> _Evaluation:
    try:
        document = json.loads(path.read_bytes())
        numbers = {name: document[name] for name in HEADLINE if document.get(name) is not None}
        found = {
            "numbers": numbers,
            "boxes": document["boxes"],
            "analysis": document.get("analysis", {}),
        }
        return msgspec.convert(found, _Evaluation)
    except FileNotFoundError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(
            f"evaluation={path}: not a metrics file of scripts/evaluate.py ({first_line(error)})"
        ) from error


def _front_matter(
    config: ModelCardConfig, loaded: LoadedModel, evaluation: _Evaluation | None, title: str
) -> str:
    """The header that model hubs read."""
    numbers = loaded.metrics if evaluation is None else evaluation.numbers
    results = [
        {"type": name, "value": round(numbers[name], 4)}
        for name in HEADLINE
        if name in numbers and math.isfinite(numbers[name])
    ]
    header: dict[str, Any] = {
        "library_name": "cpn",
        "pipeline_tag": "keypoint-detection",
        "tags": ["human-pose-estimation", "cascaded-pyramid-network", loaded.config.backbone.name],
    }
    if config.licence is not None:
        header["license"] = config.licence
    task = {"type": "keypoint-detection"}
    data = {"type": "coco-keypoints", "name": Path(loaded.config.data.val.annotations).name}
    if results:
        entry = {"task": task, "dataset": data, "metrics": results}
        header["model-index"] = [{"name": title, "results": [entry]}]
    return f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---"


def _summary(loaded: LoadedModel) -> str:
    refined = "and RefineNet" if loaded.model.refine_net is not None else "without RefineNet"
    return (
        f"A Cascaded Pyramid Network (Chen et al., CVPR 2018; GlobalNet {refined}) on"
        f" {loaded.config.backbone.name}, for {loaded.skeleton.num_keypoints} keypoints of a person"
        " in a box. The file holds tensors and JSON: reading it runs nothing."
    )


def _use(path: Path) -> str:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return (
        f"```python\nimport cpn\n\npredictor = cpn.load({path.name!r})\n"
        "poses = predictor(image_rgb, boxes_xyxy)  # (H, W, 3) uint8, upright; (N, 4) in pixels\n"
        "```\n\n"
        f"SHA-256 `{digest}`."
    )


def _network(loaded: LoadedModel) -> str:
    config, size_hw = loaded.config, loaded.config.input.size_hw
    counts = model_statistics(loaded.model, size_hw)
    pyramid, refine = config.model.pyramid, config.model.refine
    fed = refine.levels or pyramid.all_levels
    rows = [
        ("input", f"{size_hw[0]} x {size_hw[1]} (height x width), RGB"),
        (
            "box rule",
            "the person's box, grown to the input's aspect about its centre, times"
            f" {config.input.margin:g}",
        ),
        ("pyramid", f"{_levels(pyramid.all_levels)}, {pyramid.channels} channels"),
        ("RefineNet is fed by", _levels(fed) if refine.enabled else "none"),
        ("heatmaps", f"stride {loaded.model.heatmap_stride}, {config.heatmap.family}"),
        ("decoding", f"{config.decode.method}{', flip test' * config.decode.flip_test}"),
        ("parameters", f"{counts.parameters / 1e6:.2f} M"),
        ("GFLOPs (multiply-adds)", f"{counts.gflops:.3f}"),
    ]
    return markdown_table(("what", "value"), rows)


def _levels(levels: Any) -> str:  # noqa: ANN401 - list or tuple of numbers
    return ", ".join(f"P{level}" for level in levels)


def _training(loaded: LoadedModel) -> str:
    config = loaded.config
    rows = [
        ("training people", Path(config.data.train.annotations).name),
        ("validation people", Path(config.data.val.annotations).name),
        ("begins from", _beginning(loaded)),
        ("teacher", Path(config.distill.teacher).name if config.distill.teacher else "none"),
        ("epochs, batch", f"{config.engine.epochs}, {config.engine.batch_size}"),
        ("optimizer", f"{config.optimizer.name}, learning rate {config.optimizer.lr:g}"),
        ("schedule", config.schedule.name),
        ("precision", config.engine.precision),
        ("seed", str(config.seed)),
    ]
    return markdown_table(("what", "value"), rows) + (
        "\n\nThe whole configuration is in the file's header, under `config`."
    )


def _beginning(loaded: LoadedModel) -> str:
    start = loaded.config.start.checkpoint
    weights = loaded.config.backbone.weights
    if start is not None:
        return Path(start).name
    if weights == "none":
        return "random weights"
    return "ImageNet weights" if weights == "imagenet" else Path(weights).name


def _results(loaded: LoadedModel, evaluation: _Evaluation | None) -> str:
    if evaluation is not None:
        intervals = evaluation.analysis.intervals
        rows = [
            (name, f"{value:.4f}", _interval(intervals.get(name)))
            for name, value in evaluation.numbers.items()
        ]
        table = markdown_table(("number", "value", "interval"), rows, right=(1,))
        return f"By `scripts/evaluate.py`, boxes: {one_line(evaluation.boxes)}.\n\n{table}"
    rows_of_training = _finite(loaded.metrics)
    if not rows_of_training:
        return "The file has none: it was never evaluated."
    table = markdown_table(("number", "value"), rows_of_training, right=(1,))
    return f"Of the training's own evaluation, by ground-truth boxes.\n\n{table}"


def _finite(numbers: Mapping[str, float]) -> list[tuple[str, str]]:
    return [
        (name, f"{numbers[name]:.4f}")
        for name in HEADLINE
        if name in numbers and math.isfinite(numbers[name])
    ]


def _interval(bounds: list[float | None] | None) -> str:
    if bounds is None or None in bounds:
        return "-"
    low, high = bounds
    return f"{low:.4f} to {high:.4f}"


def _keypoints(loaded: LoadedModel, evaluation: _Evaluation | None) -> str:
    skeleton = loaded.skeleton
    mirrored = {a: b for pair in skeleton.flip_pairs for a, b in (pair, pair[::-1])}
    by_name = {} if evaluation is None else evaluation.analysis.keypoints
    rows = []
    for index, name in enumerate(skeleton.keypoint_names):
        other = skeleton.keypoint_names[mirrored[index]] if index in mirrored else "-"
        value = by_name.get(name, {}).get("AP")
        row = (str(index), name, other, f"{skeleton.sigmas[index]:g}")
        rows.append((*row, "-" if value is None else f"{value:.3f}") if by_name else row)
    head = ("index", "keypoint", "in a mirror", "OKS sigma", *(["AP"] * bool(by_name)))
    return markdown_table(head, rows, right=(0, 3, 4))


def _limits(loaded: LoadedModel) -> str:
    return (
        "It looks at one box at a time and always places every keypoint: what it is given a wrong"
        " or empty box for comes out as a pose with low scores. People who look unlike those of"
        f" {Path(loaded.config.data.train.annotations).name}, and boxes by another rule than the"
        " one above, are outside of what the numbers say. Not for identifying people."
    )
