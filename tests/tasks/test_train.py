"""A whole run on six people: files, pictures, resume."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpn.build import load_model_with_metadata
from cpn.config.schema import TrainConfig
from cpn.errors import UserError
from cpn.evaluation import COCO_METRICS
from cpn.tasks.train import train

MakeConfig = Callable[..., TrainConfig]


def test_a_run_leaves_its_files(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config()
    metrics = train(config)
    run = tmp_path / "runs" / "tiny"
    assert TrainConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text())) == config
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines if line["kind"] == "eval"] == [0, 1]
    assert set(metrics) == {*COCO_METRICS, "PCK"}
    loaded = load_model_with_metadata(run / "model.safetensors")
    assert loaded.config == config
    assert loaded.metrics["PCK"] == pytest.approx(metrics["PCK"])


def test_tensorboard_has_scalars_and_pictures(tiny_config: MakeConfig, tmp_path: Path) -> None:
    train(tiny_config("engine.epochs=1"))
    events = EventAccumulator(str(tmp_path / "runs" / "tiny" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"eval/AP", "eval/ARL", "train/refine", "train/lr", "train/images_per_second"} <= set(
        tags["scalars"]
    )
    levels = {f"heatmaps/{level}" for level in ("p5", "p4", "p3", "p2", "refined")}
    assert set(tags["images"]) == {"people", *levels}


def test_a_stopped_run_goes_on_bit_for_bit(tiny_config: MakeConfig, tmp_path: Path) -> None:
    ema = "engine.ema_decay=0.9"
    train(tiny_config("engine.epochs=4", ema, "run.name=whole"))

    class Stopped(Exception):  # noqa: N818
        pass

    import cpn.tasks.train as module  # noqa: PLC0415

    save = module._save_model
    calls: list[int] = []

    def save_then_stop(*arguments: object) -> None:
        if len(calls) == 2:  # the third epoch is trained, but not saved
            raise Stopped
        calls.append(1)
        save(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_save_model", save_then_stop)
        with pytest.raises(Stopped):
            train(tiny_config("engine.epochs=4", ema, "run.name=parts"))
    train(tiny_config("engine.epochs=4", ema, "run.name=parts", "run.if_exists=resume"))
    runs = tmp_path / "runs"
    whole, parts = (load_file(runs / name / "model.safetensors") for name in ("whole", "parts"))
    assert all((whole[key] == parts[key]).all() for key in whole)
    logs = [
        [
            {k: v for k, v in json.loads(line).items() if k != "images_per_second"}
            for line in (runs / name / "metrics.jsonl").read_text().splitlines()
        ]
        for name in ("whole", "parts")
    ]
    assert logs[0] == logs[1]


def test_an_existing_run_is_not_overwritten_unasked(tiny_config: MakeConfig) -> None:
    train(tiny_config("engine.epochs=1"))
    with pytest.raises(UserError, match=r"run\.if_exists=resume to continue it"):
        train(tiny_config("engine.epochs=1"))
    train(tiny_config("engine.epochs=1", "run.if_exists=overwrite"))


def test_resume_refuses_another_config(tiny_config: MakeConfig) -> None:
    train(tiny_config("engine.epochs=1"))
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.0005 -> 0\.1"):
        train(tiny_config("engine.epochs=1", "optimizer.lr=0.1", "run.if_exists=resume"))


def test_overwrite_spares_what_is_not_a_run(tiny_config: MakeConfig, tmp_path: Path) -> None:
    thesis = tmp_path / "runs" / "tiny" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("precious")
    with pytest.raises(UserError, match="not the directory of a run"):
        train(tiny_config("run.if_exists=overwrite"))
    assert thesis.read_text() == "precious"


@pytest.mark.parametrize(
    "overrides",
    [
        ("model.refine.enabled=false",),
        ("model.pyramid.levels=[3,5]", "heatmap=blurred_one_hot", "decode=cpn"),
        ("model.refine.levels=[2,3]", "loss=l2"),
        ("model.global_net.supervision=native", "decode=quarter"),
        ("model=fpn", "model.pyramid.channels=8", "model.pyramid.upsample=nearest"),
        (
            *("model.pyramid.extra=max_pool", "model.pyramid.num_extra=1", "model.norm=group"),
            *("input.height=128", "input.width=128"),
        ),
    ],
)
def test_ablations_train(tiny_config: MakeConfig, overrides: tuple[str, ...]) -> None:
    metrics = train(tiny_config("engine.epochs=1", *overrides))
    assert 0 <= metrics["AP"] <= 1


def test_missing_data_names_the_way_out(tiny_config: MakeConfig) -> None:
    with pytest.raises(UserError, match=r"no annotation file at nowhere\.json"):
        train(tiny_config("data.train.annotations=nowhere.json"))
