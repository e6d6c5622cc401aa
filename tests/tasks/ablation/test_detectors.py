"""Detectors as the subject of a study: what is evaluated, shared and measured; and a whole one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from cpn.ablation.costs import VariantCost
from cpn.ablation.ledger import Ledger
from cpn.ablation.plan import plan_variants
from cpn.ablation.results import RunFigures
from cpn.build_detector import build_detector, load_detector
from cpn.command_line.composed import validate
from cpn.config.detection_schema import TrainDetectorConfig
from cpn.evaluation import BOX_METRICS
from cpn.tasks.ablation.detector_cost import assemble, multiply_adds
from cpn.tasks.ablation.detector_worker import CRAFT, used
from cpn.tasks.ablation.orders import TimingOrder, TrainingOrder, UseOrder
from cpn.tasks.ablation.subjects import DETECTORS
from cpn.tasks.ablation.timing import measure
from cpn.tasks.ablation.work import work
from tests.ablation.test_plan import study

ROOT = Path(__file__).parents[3]
Make = Callable[..., TrainDetectorConfig]


def test_a_detector_is_trained_and_its_boxes_are_the_figures(
    tiny_detector: Make, tmp_path: Path
) -> None:
    config = tiny_detector("engine.epochs=1")
    fewer = tiny_detector("engine.epochs=1", "detector.max_people=1")
    uses = [
        UseOrder[TrainDetectorConfig](use=use, identity="id", folder=str(tmp_path / name))
        for name, use in {"all": config, "one": fewer}.items()
    ]
    order = TrainingOrder[TrainDetectorConfig](training=config, uses=uses, resamples=5)
    work(order, CRAFT)
    for name, most in {"all": 100, "one": 1}.items():
        figures = RunFigures.load(tmp_path / name / "figures.npz")
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        told = [np.nan if metrics[key] is None else metrics[key] for key in BOX_METRICS]
        np.testing.assert_array_equal(list(figures.metrics.values()), told)
        assert figures.resampled.shape == (5, len(BOX_METRICS))
        results = json.loads((tmp_path / name / "results.json").read_text())
        by_photo = [result["image_id"] for result in results]
        counts = [by_photo.count(image_id) for image_id in (1, 2, 3, 4)]
        assert max(counts) == 1 if most == 1 else max(counts) > 1
    loaded = load_detector(tmp_path / "runs" / "detector" / "model.safetensors")
    assert loaded.metrics["AP"] == json.loads((tmp_path / "all/metrics.json").read_text())["AP"]


def test_weights_are_used_as_the_variant_says(tiny_detector: Make) -> None:
    config = tiny_detector()
    trained = build_detector(config.backbone, config.detector)
    other = tiny_detector("detector.min_size=32", "detector.retinanet.candidates_per_level=7")
    model = used(trained, other)
    heads = model.heads
    assert (heads.transform.min_size, heads.topk_candidates) == ((32,), 7)
    assert not model.training
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def composed(overrides: Sequence[str]) -> TrainDetectorConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return validate(compose("train_detector", list(overrides)), TrainDetectorConfig)


def test_variants_that_differ_in_use_share_their_trainings() -> None:
    variants = {
        "a": [],
        "b": ["detector.score_threshold=0.3", "detector.retinanet.candidates_per_level=9"],
        "c": ["detector.anchors.scales_per_octave=1"],
    }
    given = ["detector_study=x", "ablation=default", "out=y", "recipe=retinanet_demo"]
    planned = plan_variants(
        study(**variants), given, composed, use_keys=DETECTORS.use_keys, epochs={}
    )
    a, b, c = (variant.first for variant in planned.values())
    assert a.training_id == b.training_id != c.training_id
    assert len({a.use_id, b.use_id, c.use_id}) == 3


@pytest.mark.long
def test_a_detectors_costs_are_measured(tiny_detector: Make, tmp_path: Path) -> None:
    config = tiny_detector()
    order = TimingOrder[TrainDetectorConfig](config=config, steps=1, out=str(tmp_path / "c.json"))
    measure(order, assemble)
    found = VariantCost.load(tmp_path / "c.json")
    weights = build_detector(config.backbone, config.detector).parameters()
    assert found.cost.parameters == sum(weight.numel() for weight in weights)
    assert found.pace.steps_per_epoch == 2
    assert min(found.cost.gflops, found.cost.training_rate, found.cost.latency_ms) > 0
    assert found.pace.seconds_per_evaluation > 0


def test_another_convolution_costs_its_multiply_adds(tiny_detector: Make) -> None:
    """A 3x3 of 8 channels in both branches on all levels of 64x64 pixels: 64 + 16 + 4 cells."""
    counts = []
    for convs in (1, 2):
        config = tiny_detector(f"detector.retinanet.convs={convs}")
        model = build_detector(config.backbone, config.detector).eval()
        image = np.zeros((48, 64, 3), dtype=np.uint8)
        counts.append(multiply_adds(model, image, torch.device("cpu")))
    assert counts[1] - counts[0] == 2 * 9 * 8 * 8 * 84


@pytest.mark.long
def test_a_whole_study_of_detectors(tiny_detector_overrides: list[str], tmp_path: Path) -> None:
    """The program, on two variants with two seeds; asked again, it has nothing to do."""
    own = ["detector_study=detector_levels", "study.only=[P3-P6]", "study.seeds=[0,1]"]
    own += ["study.timing_steps=1", "study.jobs=1", "study.resamples=20", f"out={tmp_path}/s"]
    shared = [text for text in tiny_detector_overrides if not text.startswith("run.")]
    shared.append("detector.retinanet.norm=none")
    for told in ("4 runs, 0 done", "4 runs, 4 done"):
        ended = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / "ablate_detector.py"), *shared, *own],
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        assert told in ended.stderr
    folder = tmp_path / "s" / "detector_levels"
    entries = Ledger(folder).entries().values()
    assert [(e.variant, e.seed, e.state, e.attempts) for e in entries] == [
        (name, seed, "done", 1) for name in ("P3-P6", "P3-P7") for seed in (0, 1)
    ]
    table = (folder / "table.md").read_text()
    assert "Box AP in percent" in table
    assert "| variant | AP50 | AP75 | APS | APM | APL | AR1 | AR10 | AR100 |" in table
    assert "keypoint" not in (folder / "study.html").read_text()
