"""A whole run on six people: files, pictures, resume."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cpn.build import load_model_with_metadata
from cpn.config.schema import TrainConfig
from cpn.engine.distributed import DistributedContext
from cpn.engine.model_file import save_model_file
from cpn.errors import UserError
from cpn.evaluation import COCO_METRICS
from cpn.skeleton import COCO_17
from cpn.tasks.train import train
from cpn.tasks.training.run_directory import make_run_directory, plan_run_directory
from tests.conftest import TinyCoco

MakeConfig = Callable[..., TrainConfig]


def test_a_run_leaves_its_files(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config()
    metrics = train(config)
    run = tmp_path / "runs" / "tiny"
    assert TrainConfig.model_validate(yaml.safe_load((run / "config.yaml").read_text())) == config
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "train"] == [1, 2, 3, 4, 5, 6]
    assert [line["epoch"] for line in lines if line["kind"] == "eval"] == [0, 1]
    assert set(metrics) == {*COCO_METRICS, "PCK", "PCK-AUC"}
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


def test_the_chosen_precision_is_told(
    tiny_config: MakeConfig, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpn.engine.precision.computes_bf16", lambda _: False)
    with caplog.at_level("INFO"):
        train(tiny_config("engine.epochs=1", "engine.precision=auto"))
    assert caplog.text.count("precision fp32 (auto)") == 1


def test_an_existing_run_is_not_overwritten_unasked(tiny_config: MakeConfig) -> None:
    train(tiny_config("engine.epochs=1"))
    with pytest.raises(UserError, match=r"run\.if_exists=resume to continue it"):
        train(tiny_config("engine.epochs=1"))
    train(tiny_config("engine.epochs=1", "run.if_exists=overwrite"))


def test_resume_refuses_another_config(tiny_config: MakeConfig) -> None:
    train(tiny_config("engine.epochs=1"))
    with pytest.raises(UserError, match=r"optimizer\.lr: 0\.0005 -> 0\.1"):
        train(tiny_config("engine.epochs=1", "optimizer.lr=0.1", "run.if_exists=resume"))


def test_a_key_that_is_younger_than_the_run_does_not_keep_it_from_going_on(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    train(tiny_config("engine.epochs=1"))
    path = tmp_path / "runs" / "tiny" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    del config["model"]["pyramid"]["top_down"]
    path.write_text(yaml.safe_dump(config))
    train(tiny_config("engine.epochs=1", "run.if_exists=resume"))
    with pytest.raises(UserError, match=r"model.pyramid.top_down: True -> False"):
        train(
            tiny_config("engine.epochs=1", "run.if_exists=resume", "model.pyramid.top_down=false")
        )


def test_resume_refuses_other_annotations(
    tiny_config: MakeConfig, tiny_coco: TinyCoco, caplog: pytest.LogCaptureFixture
) -> None:
    """F18: the same names, but one more space in the file."""
    train(tiny_config("engine.epochs=1"))
    before = tiny_coco.annotations.read_bytes()
    tiny_coco.annotations.write_bytes(before + b" ")
    with pytest.raises(
        UserError,
        match=r"inputs\.json: cannot resume with other annotations than before \(SHA-256 of "
        r"data\.train\.annotations: \w{12} -> \w{12}; data\.val\.annotations: .*restore them",
    ):
        train(tiny_config("engine.epochs=1", "run.if_exists=resume"))
    tiny_coco.annotations.write_bytes(before)
    train(tiny_config("engine.epochs=1", "run.if_exists=resume"))
    assert "inputs.json" not in caplog.text


def test_a_run_without_the_hashes_of_its_annotations_goes_on_with_a_warning(
    tiny_config: MakeConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(tiny_config("engine.epochs=1"))
    inputs = tmp_path / "runs" / "tiny" / "inputs.json"
    inputs.write_text("[")
    with pytest.raises(UserError, match=r"inputs\.json is damaged; delete it if you are sure"):
        train(tiny_config("engine.epochs=1", "run.if_exists=resume"))
    inputs.unlink()
    train(tiny_config("engine.epochs=1", "run.if_exists=resume"))
    assert "inputs.json is missing, so nothing tells whether" in caplog.text


def files_below(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is only found out while data, model and trainer are built.
BAD_STARTS = [
    ("data.val.annotations=nowhere.json", "no annotation file at nowhere"),
    ("engine.batch_size=64", "do not fill one global batch of 64"),
    ("schedule.warmup_epochs=9", "the warm-up takes"),
    ("engine.precision=fp16", r"precision=fp16 .* needs a GPU"),
    ("engine.sync_batch_norm=true", "needs GPUs and more than one rank"),
]


def test_a_failed_start_touches_nothing(tiny_config: MakeConfig, tmp_path: Path) -> None:
    def fail(*overrides: str) -> None:
        for override, message in BAD_STARTS:
            with pytest.raises((UserError, FileNotFoundError), match=message):
                train(tiny_config("engine.epochs=1", override, *overrides))

    fail()
    assert not (tmp_path / "runs").exists()
    train(tiny_config("engine.epochs=1"))
    before = files_below(tmp_path / "runs")
    fail("run.if_exists=overwrite")
    assert files_below(tmp_path / "runs") == before


def test_a_folder_with_nothing_but_a_config_is_free(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    config = tiny_config("engine.epochs=1")
    left = tmp_path / "runs" / "tiny" / "config.yaml"
    left.parent.mkdir(parents=True)
    left.write_text("seed: 1\n")
    assert not plan_run_directory(config, DistributedContext()).resume
    assert left.read_text() == "seed: 1\n"
    directory = make_run_directory(config, DistributedContext())
    assert TrainConfig.model_validate(yaml.safe_load(directory.config.read_text())) == config


YAML_BOMB = "b0: &b0 {x: 1}\n" + "".join(
    f"b{n}: &b{n} {{p: *b{n - 1}, q: *b{n - 1}}}\n" for n in range(1, 60)
)


@pytest.mark.parametrize("content", [b"a: [1", b"- 1", b"", b"\xff\xfe\xfd", YAML_BOMB.encode()])
def test_resume_refuses_a_damaged_config(
    tiny_config: MakeConfig, tmp_path: Path, content: bytes
) -> None:
    run = tmp_path / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").touch()
    (run / "config.yaml").write_bytes(content)
    with pytest.raises(
        UserError, match=r"config\.yaml is damaged, .* run\.if_exists=overwrite"
    ) as e:
        train(tiny_config("run.if_exists=resume"))
    assert "\n" not in str(e.value)


def test_a_file_in_the_way_is_named(tiny_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for overrides in (["run.name=file", f"run.root={tmp_path}"], [f"run.root={tmp_path}/file"]):
        with pytest.raises(UserError, match="/file is no folder; choose another"):
            train(tiny_config(*overrides))


def test_what_the_disk_refuses_reaches_every_rank(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "runs" / "tiny" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "tiny" / "config.yaml").touch()
    monkeypatch.setattr(shutil, "rmtree", refuse)
    sent: list[object] = []

    class Context(DistributedContext):
        def broadcast_object(self, value: Any) -> Any:
            sent.append(value)
            return value if self.is_main else (None, message)

    message = f"{tmp_path}/runs/tiny: Permission denied"
    with pytest.raises(UserError, match=f"^{message}$"):
        make_run_directory(tiny_config("run.if_exists=overwrite"), Context())
    assert sent == [(None, message)]  # and to the other ranks
    with pytest.raises(UserError, match=f"^{message}$"):
        make_run_directory(tiny_config(), Context(rank=1, world_size=2))


def test_a_bad_model_file_names_every_key(tiny_config: MakeConfig, tmp_path: Path) -> None:
    config = tiny_config().model_dump(mode="json")
    config["optimizer"]["lr"] = "fast"
    del config["input"]["margin"]
    path = tmp_path / "model.safetensors"
    save_model_file(path, {}, {"config": config, "skeleton": COCO_17.to_dict()})
    with pytest.raises(UserError, match=r"optimizer\.lr: got \"fast\"") as caught:
        load_model_with_metadata(path)
    assert "input.margin: no value given" in str(caught.value)
    assert "\n" not in str(caught.value)
    save_model_file(path, {}, {})
    with pytest.raises(UserError, match=r"cannot be used \(no config in it\)"):
        load_model_with_metadata(path)


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
