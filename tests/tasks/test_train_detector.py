"""Whole trainings of a tiny detector: the promises of the loop hold for it too."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cpn.build import load_model_with_metadata
from cpn.build_detector import load_detector
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.config.validation import ConfigError
from cpn.engine.trainer import NonFiniteError
from cpn.errors import UserError
from cpn.evaluation import BOX_METRICS
from cpn.tasks.train_detector import train_detector
from tests.conftest import TinyCoco
from tests.ranks import run_ranks

Make = Callable[..., TrainDetectorConfig]
SQUARE = [[4.0, 4.0, 30.0, 4.0, 30.0, 44.0, 4.0, 44.0]]
SMALL_ROI_HEADS = (
    *("network=mask_rcnn_small", "detector.pyramid.channels=8", "detector.mask_rcnn.box_width=8"),
    "detector.mask_rcnn.mask={roi_size: 14, convs: 1, width: 8}",
    "detector.anchors.sizes=[8,16,32,64]",
)
ALL_HEADS = (
    *SMALL_ROI_HEADS,
    "detector.mask_rcnn.keypoint={roi_size: 14, convs: 1, width: 8, number: 17}",
)


def test_a_run_leaves_a_detector_and_its_numbers(tiny_detector: Make, tmp_path: Path) -> None:
    metrics = train_detector(tiny_detector())
    assert tuple(metrics) == BOX_METRICS
    folder = tmp_path / "runs" / "detector"
    assert json.loads((folder / "status.json").read_text())["state"] == "done"
    loaded = load_detector(folder / "model.safetensors")
    assert loaded.config.detector == tiny_detector().detector
    assert loaded.metrics == pytest.approx(metrics, nan_ok=True)
    line = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert {"loss", "classification", "bbox_regression"} <= set(line)


@pytest.fixture
def outlined(tiny_coco: TinyCoco) -> dict[str, Any]:
    """The people with masks, too; to be changed and written."""
    document = tiny_coco.read()
    for person in document["annotations"]:
        person["segmentation"] = SQUARE
    tiny_coco.write(document)
    return document


@pytest.mark.parametrize("engine", [(), ("engine.precision=bf16", "engine.channels_last=true")])
def test_masks_and_keypoints_are_learned(
    tiny_detector: Make, outlined: object, tmp_path: Path, engine: tuple[str, ...]
) -> None:
    train_detector(tiny_detector(*ALL_HEADS, "engine.epochs=1", *engine))
    line = json.loads((tmp_path / "runs/detector/metrics.jsonl").read_text().splitlines()[0])
    assert {"mask", "keypoint", "objectness", "box_reg"} <= set(line)


def test_a_rank_that_sees_nobody_trains_along(
    tiny_detector: Make, tiny_coco: TinyCoco, outlined: dict[str, Any], tmp_path: Path
) -> None:
    """Each rank has one photo per step; three of the four photos are empty."""
    outlined["annotations"] = [x for x in outlined["annotations"] if x["image_id"] == 4]
    tiny_coco.write(outlined)
    config = tiny_detector(*ALL_HEADS, "engine.epochs=1", "photo.empty_photos=true")
    (tmp_path / "task.json").write_text(config.model_dump_json())
    outcomes = run_ranks(Path(__file__).with_name("detector_rank.py"), tmp_path)
    first, second = (outcome.report for outcome in outcomes)
    assert set(first) == set(BOX_METRICS)
    assert first == pytest.approx(second, abs=0, nan_ok=True)
    lines = (tmp_path / "runs/detector/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 2]


def test_a_stopped_run_goes_on_bit_for_bit(
    tiny_detector: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("engine.save_every_steps=1", "photo.scales=[0.5,1.0]")
    train_detector(tiny_detector("run.name=whole", *options))
    with monkeypatch.context() as patch:
        patch.setenv("CPN_FAULT", "loss@4:0:nan")
        with pytest.raises(NonFiniteError, match=r"step 4: .*image ids \[\d, \d\]"):
            train_detector(tiny_detector("run.name=parts", *options))
    train_detector(tiny_detector("run.name=parts", *options, "run.if_exists=resume"))
    whole, parts = (
        load_file(tmp_path / "runs" / name / "model.safetensors") for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.cache=crops", r"data\.cache=crops .* whole photos"),
        ("data.on_error=skip", r"data\.on_error=skip is for poses"),
        ("engine.compile=true", r"engine\.compile=true"),
        ("detector.num_classes=91", r"detector\.num_classes=91"),
        ("photo.scale_range=[2,1]", r"scale_range must be \[low, high\]"),
        ("engine.accumulate=3", r"engine\.batch_size=2 is not a multiple"),
    ],
)
def test_what_contradicts_itself_is_refused(tiny_detector: Make, override: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        tiny_detector(override)


def test_a_detector_is_no_pose_network_and_the_other_way_round(
    tiny_detector: Make, tmp_path: Path
) -> None:
    train_detector(tiny_detector("engine.epochs=1"))
    with pytest.raises(UserError, match="detector") as caught:
        load_model_with_metadata(tmp_path / "runs" / "detector" / "model.safetensors")
    assert "\n" not in str(caught.value)
