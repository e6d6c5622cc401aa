"""S3: no name in an override, a config file, Hydra's settings or a checkpoint becomes code."""

import json
import logging
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from safetensors.torch import save

from cpn.build import load_model_with_metadata
from cpn.command_line.composed import validate
from cpn.config.guard import refuse_hostile_yaml, refused_override
from cpn.config.schema import TrainConfig
from cpn.config.validation import ConfigError, validate_plain
from cpn.errors import UserError
from cpn.skeleton import COCO_17

ROOT = Path(__file__).parents[2]
NAMES = (
    *("os.system", "os.popen", "os.execv", "os.remove", "posix.system", "logging.os.system"),
    *("builtins.open", "builtins.eval", "builtins.exec", "builtins.compile", "builtins.__import__"),
    *("builtins.getattr", "functools.partial", "functools.reduce", "operator.methodcaller"),
    *(
        "subprocess.run",
        "subprocess.Popen",
        "subprocess.check_output",
        "pty.spawn",
        "runpy.run_path",
    ),
    *("torch.load", "torch.hub.load", "torch.jit.load", "torch.ops.load_library", "numpy.load"),
    *("pathlib.Path.unlink", "shutil.rmtree", "tempfile.mkdtemp", "webbrowser.open"),
    *("socket.create_connection", "importlib.import_module", "pickle.loads", "ctypes.CDLL"),
    *("hydra.utils.instantiate", "hydra.utils.get_method", "timm:hf-hub:evil/model"),
    *("canary_module.run", "canary_module"),
)
# Every place where a config names a thing.
NAMING_KEYS = (
    *("backbone.name", "optimizer.name", "schedule.name", "heatmap.family", "decode.method"),
    *("model.pyramid.upsample", "model.norm", "postprocess.method", "boxes", "engine.precision"),
)


@pytest.fixture(autouse=True)
def _canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module that leaves a mark when somebody imports it."""
    folder = tmp_path / "path"
    folder.mkdir()
    marker = folder / "imported"
    (folder / "canary_module.py").write_text(f"open({str(marker)!r}, 'w').close()\nrun = print\n")
    monkeypatch.syspath_prepend(str(folder))
    yield
    assert "canary_module" not in sys.modules
    assert not marker.exists()


@pytest.fixture(scope="module")
def ordinary() -> dict[str, Any]:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("train", overrides=["data=custom", "run.name=x"])
        for key in ("train", "val"):
            composed.data[key].annotations = composed.data[key].images = "x"
    return validate(composed, TrainConfig).model_dump(mode="json")


def _with(config: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(json.dumps(config))
    place = changed
    *parents, last = key.split(".")
    for name in parents:
        place = place.setdefault(name, {})
    place[last] = value
    return changed


def test_many_names_are_tried() -> None:
    assert len(set(NAMES)) >= 30


@pytest.mark.parametrize("name", NAMES)
def test_an_override_builds_nothing(name: str) -> None:
    for text in (
        f"model._target_={name}",
        f"+model={{_target_: {name}}}",
        f"++x.y=[{{_target_: {name}}}]",
        f"+hydra.job_logging.handlers.x.class={name}",
        f"hydra.job_logging.handlers={{x: {{(): {name}}}}}",
        f"hydra.launcher._target_={name}",
        f"+hydra.callbacks.x={name}",
    ):
        assert refused_override(text) is not None, text


@pytest.mark.parametrize("name", NAMES)
def test_a_config_file_builds_nothing(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "configs"
    folder.mkdir()
    for text in (
        f"_target_: {name}\n",
        f"a: [{{_target_: {name}}}]\n",
        f"a: {{'_target_': '{name}'}}\n",
        f"a: !!python/name:{name} x\n",
        f"a: !!python/object/apply:{name} [x]\n",
        f"hydra: {{job_logging: {{handlers: {{x: {{class: {name}}}}}}}}}\n",
    ):
        (folder / "evil.yaml").write_text(text)
        with pytest.raises(ConfigError, match=r"evil\.yaml"):
            refuse_hostile_yaml(folder)


@pytest.mark.parametrize("name", NAMES)
def test_where_a_name_is_expected_only_ours_are_taken(name: str, ordinary: dict[str, Any]) -> None:
    validate_plain(ordinary, TrainConfig)
    keys = {*NAMING_KEYS, "_target_", "model._target_", "optimizer._partial_"}
    changed = ordinary
    for key in keys:
        changed = _with(changed, key, name)
    with pytest.raises(ConfigError) as refused:
        validate_plain(changed, TrainConfig)
    assert {problem.where for problem in refused.value.problems} >= keys


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_builds_nothing(name: str, ordinary: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    skeleton = COCO_17.to_dict()
    files = [(_with(ordinary, key, name), skeleton) for key in (*NAMING_KEYS[:3], "_target_")]
    files += [(ordinary, skeleton | {"_target_": name}), ({"_target_": name}, skeleton)]
    for config, bones in files:
        header = {"config": json.dumps(config), "skeleton": json.dumps(bones), "metrics": "{}"}
        path.write_bytes(save({}, {"format": "cpn-model", "format_version": "1"} | header))
        with pytest.raises(UserError, match=r"model\.safetensors: its config, skeleton or metrics"):
            load_model_with_metadata(path)


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("config", "[]"),
        ("config", "null"),
        ("config", '"os.system"'),
        ("skeleton", "[]"),
        ("skeleton", '{"keypoint_names": 1, "flip_pairs": [], "limbs": [], "sigmas": []}'),
        (
            "skeleton",
            '{"keypoint_names": ["a"], "flip_pairs": [[Infinity, 0]], "limbs": [], "sigmas": [1]}',
        ),
        ("skeleton", '{"keypoint_names": ["a"], "flip_pairs": [[1]], "limbs": [], "sigmas": [1]}'),
        ("metrics", '{"AP": "x"}'),
        ("metrics", '{"AP": [1]}'),
        ("metrics", "[1]"),
        ("metrics", '{"AP": ' + "9" * 400 + "}"),
    ],
)
def test_a_checkpoint_of_other_kinds_of_values_is_refused(
    part: str, text: str, ordinary: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    header = {"config": json.dumps(ordinary), "skeleton": json.dumps(COCO_17.to_dict())}
    known = {"format": "cpn-model", "format_version": "1", "metrics": "{}"}
    path.write_bytes(save({}, known | header | {part: text}))
    with pytest.raises(UserError, match=r"model\.safetensors: its config, skeleton or metrics"):
        load_model_with_metadata(path)


LOGGING = (
    "version: 1\nhandlers: {x: {(): builtins.open, file: MARKER, mode: w}}\nroot: {level: 0}\n"
)
HYDRA = "hydra:\n  job_logging:\n" + "".join(f"    {line}\n" for line in LOGGING.splitlines())
GLOBAL = "# @package _global_\n"


@pytest.mark.parametrize(
    ("arguments", "files"),
    [
        (["--config-path=evil"], {"evil/make_synthetic.yaml": GLOBAL + HYDRA}),
        (["--config-name=../EVIL/a"], {"evil/a.yaml": GLOBAL + HYDRA}),
        (["--config-dir=evil", "+x=.yaml"], {"evil/x/.yaml": GLOBAL + HYDRA}),
        (["--config-dir=evil", "+x=a"], {"evil/x/a.yaml": GLOBAL + HYDRA}),
        (
            ["--config-dir=evil", "+x=a"],
            {"evil/x/a.yaml": "# @package _global_.hydra.job_logging\n" + LOGGING},
        ),
        (["--config-dir=evil", "+x@hydra.job_logging=a"], {"evil/x/a.yaml": LOGGING}),
        (["--config-dir=evil", "+x@_global_.hydra.job_logging=a"], {"evil/x/a.yaml": LOGGING}),
        (
            ["--config-dir=evil", "+x=../../hidden/a"],
            {"evil/x/b.yaml": "a: 1\n", "hidden/a.yaml": GLOBAL + HYDRA},
        ),
        (
            ["--config-dir=evil", "+x=a"],
            {
                "evil/x/a.yaml": GLOBAL + "defaults: [/../hidden/a]\n",
                "hidden/a.yaml": GLOBAL + HYDRA,
            },
        ),
        (["--config-dir=evil", "+link=a"], {"evil/b.yaml": "", "hidden/a.yaml": GLOBAL + HYDRA}),
    ],
)
def test_hydras_logging_opens_no_file(
    arguments: list[str], files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("MARKER", str(marker)))
    if "+link=a" in arguments:
        (tmp_path / "evil/link").symlink_to(tmp_path / "hidden")
    monkeypatch.chdir(tmp_path)
    given = [text.replace("EVIL", str(tmp_path / "evil")) for text in arguments]
    monkeypatch.setattr(sys, "argv", ["make_synthetic.py", *given, f"out={tmp_path / 'out'}"])
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / "scripts/make_synthetic.py"), run_name="__main__")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert left.value.code == 2
    assert not marker.exists()
    assert not (tmp_path / "out").exists()
