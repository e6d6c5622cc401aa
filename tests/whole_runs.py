"""Small trainings of the real program, and what they leave; for the programs that kill them."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.data.synthetic import generate_dataset
from cpn.engine.model_file import load_model_file
from cpn.engine.state_store import StateStore

ROOT = Path(__file__).parents[1]
# As docs/distributed.md has it: what restarted ranks need, and the signals to pass on.
LAUNCH_ENVIRONMENT = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
SIGNALS = "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def make_people(folder: Path) -> None:
    """A few generated photos."""
    generate_dataset(folder, split="train", num_images=32, seed=0, image_size_hw=(96, 128))


def run_overrides(folder: Path, name: str, *, workers: int = 0) -> list[str]:
    """Three epochs of twelve steps with everything that has a state.

    Args:
        folder: has the people in `data`, and gets the run in `runs`.
        name: of the run.
        workers: of the loader.
    """
    data, splits = folder / "data", ("train", "val")
    people = f"{data}/annotations/person_keypoints_train.json"
    return [
        *(f"data.{split}.annotations={people}" for split in splits),
        *(f"data.{split}.images={data}/images/train" for split in splits),
        *("data.val.limit=8", "data.train.limit=48", f"data.workers={workers}"),
        *("input.height=64", "input.width=64", "backbone=resnet10", "backbone.width=0.125"),
        *("model=cpn_small", "model.pyramid.channels=8", "decode.flip_test=false"),
        *("engine.epochs=3", "engine.batch_size=4", "engine.log_every=5", "engine.ema_decay=0.9"),
        *("engine.save_every_steps=4", "engine.device=cpu", "engine.timeout_seconds=30"),
        *(f"run.root={folder / 'runs'}", f"run.name={name}", "run.if_exists=resume"),
    ]


def run_config(folder: Path, name: str, *, workers: int = 0) -> TrainConfig:
    """See `run_overrides`."""
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("train", overrides=run_overrides(folder, name, workers=workers))
    return validate(composed, TrainConfig)


def torchrun(
    options: Sequence[str],
    overrides: Sequence[str],
    *,
    log: Path,
    prefix: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `scripts/train.py` as docs/distributed.md says; output is appended to `log`."""
    command = [*prefix, sys.executable, "-m", "torch.distributed.run", SIGNALS, *options]
    own = LAUNCH_ENVIRONMENT | {"PYTHONPATH": str(ROOT)} | dict(environment or {})
    with log.open("ab") as file:
        return subprocess.Popen(
            [*command, str(ROOT / "scripts" / "train.py"), *overrides],
            env=os.environ | own,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def digest(run: Path) -> str:
    """SHA-256 over all that a run leaves, but for times and speeds."""
    found = StateStore(run / "checkpoints").load_newest()
    assert found is not None
    parts = hashlib.sha256()
    for text in _described({**found[1], "log_position": None}):
        parts.update(text)
    for name in ("model", "best"):
        for text in _described(load_model_file(run / f"{name}.safetensors").state):
            parts.update(text)
    for line in (run / "metrics.jsonl").read_text().splitlines():
        figures = {k: v for k, v in json.loads(line).items() if k != "images_per_second"}
        parts.update(json.dumps(figures).encode())
    return parts.hexdigest()


def _described(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield value.flatten().contiguous().numpy().tobytes()
    elif isinstance(value, dict):
        for key in value:
            yield str(key).encode()
            yield from _described(value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _described(item)
    else:
        yield repr(value).encode()
