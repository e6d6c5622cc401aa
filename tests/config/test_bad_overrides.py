"""Bad overrides of the real training command: each is answered at once, with what is near."""

import os
import resource
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "scripts" / "train.py"

# The override, and what the answer must name: the key, what is near or what is allowed.
UNKNOWN = [
    ("modle.pyramid.levels=[2]", "modle", "model"),
    ("model.pyramids.levels=[2]", "model.pyramids", "did you mean model.pyramid"),
    ("model.pyramid.level=[2]", "model.pyramid.level", "did you mean model.pyramid.levels?"),
    ("optimizer.learning_rate=0.1", "optimizer.learning_rate", "Keys of optimizer: name, lr"),
    ("lr=0.1", "lr", "did you mean optimizer.lr?"),
    ("optimizer.weight_decy=0", "optimizer.weight_decy", "did you mean optimizer.weight_decay?"),
    ("engine.batchsize=8", "engine.batchsize", "did you mean engine.batch_size?"),
    ("batch_size=8", "batch_size", "did you mean engine.batch_size?"),
    ("engine.epoch=8", "engine.epoch", "did you mean engine.epochs?"),
    ("epochs=8", "epochs", "did you mean engine.epochs?"),
    ("data.worker=2", "data.worker", "did you mean data.workers?"),
    ("data.onerror=skip", "data.onerror", "did you mean data.on_error?"),
    ("data.train.annotation=x.json", "data.train.annotation", "data.train.annotations?"),
    ("data.test.images=x", "data.test", "Keys of data: train, val"),
    ("input.size=256", "input.size", "Keys of input: height, width"),
    ("augment.flip=0.5", "augment.flip", "flip_probability, half_body"),
    ("backbone.depth=50", "backbone.depth", "Keys of backbone: name"),
    ("loss.top_m=8", "loss.top_m", "loss."),
    ("schedule.warmup=1", "schedule.warmup", "schedule.warmup_"),
    ("run.nam=x", "run.nam", "did you mean run.name?"),
    ("sed=1", "sed", "did you mean seed?"),
    ("+extra=1", "extra", "unknown key"),
    ("++engine.extra=1", "engine.extra", "unknown key"),
]
OPTIONS = [
    ("data=cocoo", "data", "did you mean data=coco?"),
    ("optimizer=adm", "optimizer", "Options: "),
    ("loss=ohkmm", "loss", "Options: "),
    ("engine=tpu", "engine", "Options: "),
    ("experiment=r50_256x912", "experiment", "did you mean experiment=r50_256x192?"),
    ("backbone=resnet51", "backbone", "did you mean backbone=resnet5"),
    ("augmnt=none", "augmnt", "did you mean augment?"),
]
VALUES = [
    ("seed=-1", "seed", "got -1, allowed: an integer >= 0"),
    ("seed=x", "seed", 'got "x", allowed: an integer'),
    ("seed=1.5", "seed", "got 1.5, allowed: an integer"),
    ("seed=true", "seed", "got true, allowed: an integer"),
    ("seed=null", "seed", "got null, allowed: an integer"),
    ("optimizer.lr=nan", "optimizer.lr", "got nan, allowed: a finite number"),
    ("optimizer.lr=inf", "optimizer.lr", "got inf, allowed: a finite number"),
    ("optimizer.lr=-1", "optimizer.lr", "got -1, allowed: a number > 0"),
    ("optimizer.lr=0", "optimizer.lr", "got 0, allowed: a number > 0"),
    ("optimizer.lr='0.1'", "optimizer.lr", 'got "0.1", allowed: a number'),
    ("optimizer.lr=[1]", "optimizer.lr", "got [1], allowed: a number"),
    ("optimizer.name=adam2", "optimizer.name", "allowed: one of"),
    ("optimizer.weight_decay=-0.1", "optimizer.weight_decay", "got -0.1, allowed"),
    ("engine.epochs=0", "engine.epochs", "got 0, allowed: an integer >= 1"),
    ("engine.epochs=1e3", "engine.epochs", "got 1000.0, allowed: an integer"),
    ("engine.batch_size=0", "engine.batch_size", "got 0, allowed: an integer >= 1"),
    ("engine.batch_size='7'", "engine.batch_size", 'got "7", allowed: an integer'),
    ("engine.accumulate=3 engine.batch_size=32", "", "not a multiple of engine.accumulate=3"),
    ("engine.precision=fp8", "engine.precision", "allowed: one of"),
    ("engine.device=gpu", "engine.device", "allowed: one of"),
    ("engine.compile=maybe", "engine.compile", "allowed: true or false"),
    ("engine.ema_decay=1.5", "engine.ema_decay", "got 1.5, allowed"),
    ("engine.clip_norm=-1", "engine.clip_norm", "got -1, allowed"),
    ("data.workers=-1", "data.workers", "got -1, allowed: an integer >= 0"),
    ("data.on_error=ignore", "data.on_error", "allowed: one of error, skip"),
    ("data.max_skipped=1.5", "data.max_skipped", "got 1.5, allowed: a number >= 0 and <= 1"),
    ("data.max_skipped=-0.1", "data.max_skipped", "got -0.1, allowed"),
    ("data.max_megapixels=0", "data.max_megapixels", "got 0, allowed: a number > 0"),
    ("data.max_megapixels=.inf", "data.max_megapixels", ""),
    ("data.min_keypoints=0", "data.min_keypoints", "got 0, allowed: an integer >= 1"),
    ("data.sigmas=[0.1,-1]", "data.sigmas[1]", "got -1, allowed: a number > 0"),
    ("data.flip_pairs=[[a]]", "data.flip_pairs[0]", "allowed: a list of 2"),
    ("data.train.limit=0", "data.train.limit", "got 0, allowed"),
    ("data.cache_window=2", "data.cache_window=2", "set data.cache or leave the window out"),
    ("input.height=100", "input.height", "divisible by 32"),
    ("input.width=16", "input.width", "got 16, allowed: an integer >= 32"),
    ("input.margin=0.5", "input.margin", "got 0.5, allowed: a number >= 1"),
    ("augment.scale_range=[1]", "augment.scale_range", "got [1], allowed: a list of 2"),
    ("augment.scale_range=[2,1]", "scale_range must be [low, high]", "[2.0, 1.0]"),
    ("augment.rotation_degrees=400", "augment.rotation_degrees", "got 400, allowed"),
    ("augment.flip_probability=2", "augment.flip_probability", "got 2, allowed"),
    ("augment.brightness=1", "augment.brightness", "got 1, allowed"),
    ("backbone.name=resnet19", "backbone.name", "got "),
    ("backbone.name=timm:../x", "backbone.name", "got "),
    ("backbone.width=0", "backbone.width", "got 0, allowed: a number > 0"),
    ("model.pyramid.levels=[]", "model.pyramid.levels", "got [], allowed: a list"),
    ("model.pyramid.levels=[9]", "model.pyramid.levels[0]", "got 9, allowed"),
    ("model.pyramid.levels=2", "model.pyramid.levels", "got 2, allowed: a list"),
    ("model.pyramid.upsample=cubic", "model.pyramid.upsample", "allowed: one of"),
    ("run.if_exists=ask", "run.if_exists", "allowed: one of refuse, resume, overwrite"),
    ("boxes=detections", "", "detections"),
    ("decode.flip_test=1", "decode.flip_test", "got 1, allowed: true or false"),
]
BROKEN = [
    ("seed", "seed", "cannot be read"),
    ("=1", "", "no option 1. Options: "),
    ("model.pyramid.levels=[2", "model.pyramid.levels=[2", "cannot be read"),
    ("seed=1,2", "seed=1,2", "several values need --multirun"),
    ("seed=${oc.env:HOME}", "seed", "is not read: write the value"),
    ("seed=${nothing}", "seed", "cannot be followed"),
    ("model._target_=os.system", "model._target_", "nothing is built from a name"),
    ("hydra.run.dir=/etc", "hydra.run.dir", "of Hydra's own settings only"),
]
TABLE = [*UNKNOWN, *OPTIONS, *VALUES, *BROKEN]


def test_the_table_is_long_enough() -> None:
    assert len({override for override, *_ in TABLE}) >= 60


@pytest.mark.parametrize(("override", "key", "hint"), TABLE)
def test_a_bad_override_is_explained(
    override: str,
    key: str,
    hint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", [str(TRAIN), "experiment=demo", *override.split(" ")])
    began = time.process_time()
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(TRAIN), run_name="__main__")
    assert left.value.code == 2
    assert time.process_time() - began < 3
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert "Traceback" not in text
    assert key in text
    assert hint in text


def test_from_the_shell_in_less_than_three_seconds(tmp_path: Path) -> None:
    """Processor time, the start of Python and all imports included: others may use the machine."""
    command = [sys.executable, str(TRAIN), "optimizer.learning_rate=1"]
    environment = os.environ | {"PYTHONPATH": str(TRAIN.parents[1])}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert "optimizer.learning_rate: unknown key" in done.stderr
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert used < 3
    assert list(tmp_path.iterdir()) == []
