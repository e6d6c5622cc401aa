"""The suites on tiny networks and photos: what they report, not how fast anything is."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from cpn.config.load import validate
from cpn.config.schema import BenchmarkConfig
from cpn.data.image_files import read_image
from cpn.tasks.benchmark import benchmark, loader, photos

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
    # A crop, 17 points and their visibility, the matrix, two ids, score and area of the box.
    assert sent["value"] == (64 * 48 * 3 + 17 * (2 * 4 + 8) + 6 * 8 + 2 * 8 + 2 * 8) / 1e3
    assert len(document["goals"]) == 3


def test_generated_photos_weigh_as_much_as_cocos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "NUM_PHOTOS", 6)
    with photos.people_to_measure(_config("suite=loader")) as people:
        paths = {person.image_path for person in people.instances}
        sizes = [path.stat().st_size for path in paths]
        assert all(read_image(path).shape == (480, 640, 3) for path in paths)
    assert 120e3 < sum(sizes) / len(sizes) < 190e3
    assert not any(path.exists() for path in paths)
