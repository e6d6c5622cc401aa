"""The suites on tiny networks and photos: what they report, not how fast anything is."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from cpn.build import build_model
from cpn.command_line.composed import validate
from cpn.config.schema import BenchmarkConfig
from cpn.data.image_files import read_image
from cpn.errors import UserError
from cpn.heatmaps.decode import decode_flip_test
from cpn.heatmaps.encode import gaussian_heatmaps
from cpn.heatmaps.flip import unflip_heatmaps
from cpn.models.statistics import model_statistics
from cpn.skeleton import COCO_17
from cpn.tasks.benchmark import benchmark, evaluation, heatmaps, loader, photos, scaling, startup
from cpn.tasks.benchmark.engines import Size

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = ("backbone=resnet10", "backbone.width=0.125", "model=cpn_small", "input=96x64", "rounds=2")


def _config(*overrides: str) -> BenchmarkConfig:
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        composed = compose("benchmark", overrides=[*SMALL, *overrides])
    return validate(composed, BenchmarkConfig)


def _measured(suite: str, folder: Path, *overrides: str) -> dict[str, Any]:
    out = folder / f"{suite}.json"
    benchmark(_config(f"suite={suite}", f"out={out}", *overrides))
    document: dict[str, Any] = json.loads(out.read_text())
    assert document["suite"] == suite
    assert document["machine"]["torch"]
    assert all(figure["value"] > 0 for figure in document["figures"] if figure["unit"] != "%")
    return document


def test_step_compares_with_the_network_as_published(tmp_path: Path) -> None:
    document = _measured("step", tmp_path, "engine.batch_size=2", "engine.device=cpu")
    names = [figure["name"] for figure in document["figures"]]
    for what in ("train step", "forward"):
        assert f"{what}, as published: NCHW, fp32" in names
        assert f"{what}, fp32, over published" in names
    assert [goal["goal"] for goal in document["goals"]] == [0.8, 0.68]


def test_the_loops_that_heatmaps_are_timed_against_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from the border, the published loops and our batches find the same points."""
    size_hw = (24, 18)
    points = heatmaps._random_points(size_hw)[:8]
    drawn = torch.ones(points.shape[:2], dtype=torch.bool)
    maps = gaussian_heatmaps(points, drawn, size_hw=size_hw, stride=1, sigma=1.5)
    np.testing.assert_allclose(
        heatmaps.encode_by_loops(points.numpy(), size_hw, 1.5), maps.numpy(), atol=1e-6
    )
    order = COCO_17.flip_permutation
    mirrored = unflip_heatmaps(maps, order)
    looped = heatmaps.decode_by_loops(maps.numpy(), mirrored.numpy())
    given = decode_flip_test(
        maps, mirrored, order, shift=False, method="dark", blur_kernel=heatmaps.BLUR
    )
    inside = (points > 7).all(-1) & (points < torch.tensor([10.0, 16.0])).all(-1)
    assert inside.sum() >= 5
    np.testing.assert_allclose(looped[inside], given.points[inside].numpy(), atol=0.02)
    np.testing.assert_allclose(looped[inside], points[inside].numpy(), atol=0.05)


def test_heatmaps_are_compared_with_loops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heatmaps, "BATCH", 4)
    document = _measured("heatmaps", tmp_path)
    assert [goal["goal"] for goal in document["goals"]] == [10.0]
    assert document["settings"]["heatmap_hw"] == [24, 16]


@pytest.mark.long
def test_evaluation_compares_the_loop_with_its_forward_passes(
    tiny_coco: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "VAL2017", Size(20, 25, 90))
    document = _measured(
        "evaluation",
        tmp_path,
        "photos=data",
        "data.workers=0",
        f"data.train.annotations={tiny_coco.annotations}",
        f"data.train.images={tiny_coco.images}",
    )
    goals = {goal["name"]: (goal["goal"], goal["ok"]) for goal in document["goals"]}
    assert {goal for goal, _ in goals.values()} == {1.15, 10, 60.0}
    assert goals["val2017 size: equal numbers of the ten, at least"] == (10, True)
    names = {figure["name"] for figure in document["figures"]}
    assert {"one person, fp32: network", "one person, fp32, flip test: pose"} < names


@pytest.mark.long
def test_startup_times_fresh_interpreters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "PHOTOS", 16)
    document = _measured("startup", tmp_path, "rounds=1")
    assert [goal["goal"] for goal in document["goals"]] == [1.2, 12.0]


def test_a_training_that_does_not_start_is_told() -> None:
    with pytest.raises(UserError, match=r"ended before its first step: .*no such thing"):
        startup._until_first_step([sys.executable, "-c", "print('no such thing')"])


@pytest.mark.long
def test_scaling_runs_every_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "WORLD_SIZES", (1, 2))
    document = _measured("scaling", tmp_path, "engine.batch_size=2", "engine.device=cpu")
    figures = {figure["name"]: figure["value"] for figure in document["figures"]}
    parameters = model_statistics(build_model(_config("suite=scaling"), num_keypoints=17), (96, 64))
    gradients = parameters.parameters * 4 / 1e6
    assert figures["gradients of a step"] == pytest.approx(gradients)
    assert figures["2 ranks: sent by each rank in a step"] == pytest.approx(gradients)
    assert "1 rank: without exchange" not in figures
    assert {"2 ranks: without exchange", "2 ranks: share of the exchange in a step"} < set(figures)


def test_loader_measures_the_user_s_photos(
    tiny_coco: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "SAMPLES_PER_ROUND", 32)
    monkeypatch.setattr(loader, "SIZES", ((64, 48),))
    monkeypatch.setattr(loader, "COCO_PEOPLE", 50)
    monkeypatch.setattr(loader, "WARM_UP_ROUNDS", 1)
    monkeypatch.setattr(loader, "WARM_UP_EPOCHS", 1)
    monkeypatch.setattr(loader, "MEMORY_EPOCHS", 2)
    document = _measured(
        "loader",
        tmp_path,
        "photos=data",
        f"data.train.annotations={tiny_coco.annotations}",
        f"data.train.images={tiny_coco.images}",
    )
    assert document["settings"]["people"] == 6
    sizes = {figure["name"].partition(":")[0] for figure in document["figures"]}
    assert {"96x64", "64x48"} < sizes
    sent = next(f for f in document["figures"] if f["name"].endswith("through the worker"))
    # A crop, 17 points and their visibility, the matrix, two ids, score and area of the box, the
    # matrix of colours and four holes.
    figures = 17 * (2 * 4 + 8) + 6 * 8 + 2 * 8 + 2 * 8 + 12 * 4 + 4 * 4 * 4
    assert sent["value"] == (64 * 48 * 3 + figures) / 1e3
    names = [figure["name"] for figure in document["figures"]]
    assert {"64x48: loader, raw crop cache", "64x48: jpeg crop cache"} < set(names)
    assert len(document["goals"]) == 4


def test_generated_photos_weigh_as_much_as_cocos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "NUM_PHOTOS", 6)
    with photos.people_to_measure(_config("suite=loader")) as people:
        paths = {person.image_path for person in people.instances}
        sizes = [path.stat().st_size for path in paths]
        assert all(read_image(path).shape == (480, 640, 3) for path in paths)
    assert 120e3 < sum(sizes) / len(sizes) < 190e3
    assert not any(path.exists() for path in paths)


def test_a_history_says_which_commit_was_measured(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    document = _measured("heatmaps", tmp_path, f"history={history}")
    lines = history.read_text().splitlines()
    assert len(lines) == 1 + len(document["figures"])
    assert re.match(r"\d{4}-\d\d-\d\d,([0-9a-f]{7,}\+?|unknown),heatmaps,", lines[1])
