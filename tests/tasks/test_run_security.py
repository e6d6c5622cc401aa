"""S2, S6, S7: what a whole run writes, and that it listens to nobody meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors import safe_open

import cpn.tasks.train as module
from cpn.config.schema import TrainConfig
from cpn.config.validation import ConfigError

MakeConfig = Callable[..., TrainConfig]
SECRET = "canary-5f0c7e"
PLAIN = (torch.Tensor, str, int, float, bool, type(None))


def _listening() -> list[Any]:
    """Sockets of this process that others can connect to, by /proc/net."""
    mine = psutil.Process()
    processes = [mine, *mine.children(recursive=True)]
    sockets = [each for process in processes for each in process.net_connections("inet")]
    return [each for each in sockets if each.status == psutil.CONN_LISTEN or not each.raddr]


def _types(value: object) -> set[type]:
    if isinstance(value, dict):
        return {type(value)}.union(*map(_types, value), *map(_types, value.values()))
    if isinstance(value, list | tuple):
        return {type(value)}.union(*map(_types, value))
    return {type(value)}


@pytest.fixture
def run(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, list[Any]]:
    """The folder of a run whose environment holds a secret, and what listened during it."""
    monkeypatch.setenv("CPN_TEST_TOKEN", SECRET)
    heard: list[Any] = []
    save = module._save_model

    def look_then_save(*arguments: Any) -> None:
        heard.append(_listening())
        save(*arguments)

    monkeypatch.setattr(module, "_save_model", look_then_save)
    module.train(tiny_config("engine.ema_decay=0.9", "data.workers=1"))
    return tmp_path / "runs" / "tiny", heard


def test_a_run_leaves_plain_files_without_secrets_and_opens_no_port(
    run: tuple[Path, list[Any]],
) -> None:
    folder, heard = run
    assert heard == [[], []]
    states = sorted((folder / "checkpoints").glob("*.ckpt"))
    assert len(states) == 2
    allowed = torch.serialization.get_safe_globals()  # torch adds some of its own
    assert {getattr(each, "__module__", "").partition(".")[0] for each in allowed} <= {"torch"}
    for path in states:
        content = torch.load(path, map_location="cpu", weights_only=True)
        assert all(issubclass(kind, (*PLAIN, dict, list, tuple)) for kind in _types(content))
    for name in ("model.safetensors", "best.safetensors"):
        with safe_open(folder / name, framework="pt") as file:
            assert set(file.metadata()) >= {"config", "skeleton", "metrics"}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 8
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_port_would_be_heard() -> None:
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)):
        assert len(_listening()) == 1
    assert _listening() == []


@pytest.mark.parametrize(
    "text",
    [
        "${oc.env:CPN_TEST_TOKEN}",
        "a-${oc.env:CPN_TEST_TOKEN}-b",
        "${oc.env:NOT_THERE,x}",
        "${oc.decode:${oc.env:CPN_TEST_TOKEN}}",
        "${hydra:runtime.cwd}",
        "${now:%Y}",
    ],
)
def test_resolvers_are_refused_and_what_they_read_is_not_shown(
    text: str, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPN_TEST_TOKEN", SECRET)
    with pytest.raises(ConfigError, match=r"run\.name: .* is not read: write the value") as refused:
        tiny_config(f"run.name='{text}'")
    assert SECRET not in str(refused.value)
