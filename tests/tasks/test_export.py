import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from pydantic import ValidationError

from cpn import Predictor
from cpn.command_line.composed import validate
from cpn.config.export_schema import ExportConfig
from cpn.errors import UserError
from cpn.export.formats import write_format
from cpn.tasks.export import Exported, export
from tests.conftest import TinyCoco

pytest.importorskip("onnxruntime")
ROOT = Path(__file__).parents[2]


def export_config(*overrides: str) -> ExportConfig:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        return validate(compose("export", list(overrides)), ExportConfig)


@pytest.fixture
def run(checkpoint: Path) -> Callable[..., Exported]:
    def make(*overrides: str) -> Exported:
        fixed = [f"checkpoint={checkpoint}", "people=4", "rounds=0"]
        return export(export_config(*fixed, *overrides))

    return make


def test_a_model_file_becomes_an_onnx_file(
    run: Any, checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        found = run("rounds=1")
    assert found.path == checkpoint.with_suffix(".onnx")
    assert found.difference < 0.05
    assert "4 people: keypoints differ from PyTorch's by 0.0" in caplog.text
    assert "ms per person, 8 at a time" in caplog.text
    names = sorted(path.name for path in checkpoint.parent.iterdir())
    assert names == ["model.onnx", "model.safetensors"]


def test_it_scores_as_pytorch_does(run: Any, tiny_coco: TinyCoco) -> None:
    data = (f"annotations={tiny_coco.annotations}", f"images={tiny_coco.images}")
    found = run(*data, "evaluate=true")
    assert found.metrics.keys() == {"PyTorch", "onnx"}
    assert found.metrics["onnx"] == pytest.approx(found.metrics["PyTorch"], nan_ok=True)


def test_what_differs_is_not_written(
    run: Any, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpn.export.graph.SMALLEST_SIDE", 500.0)

    def other(*_: Any, **__: Any) -> Any:
        monkeypatch.undo()
        return original(*_, **__)

    original = write_format
    monkeypatch.setattr("cpn.tasks.export.write_format", other)
    with pytest.raises(UserError, match=r"not written: its keypoints differ from PyTorch's by"):
        run()
    assert [path.name for path in checkpoint.parent.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["out=model.pt"], r"out=model\.pt: a file of format=onnx ends in \.onnx"),
        (["annotations=a.json"], "annotations and images go together"),
        (["evaluate=true"], "evaluate=true needs people of yours"),
        (["precision=int8"], "int8 needs people of yours"),
        (["precision=int8", "format=openvino", "annotations=a", "images=b"], "is for format=onnx"),
    ],
)
def test_what_does_not_go_together_is_refused(run: Any, overrides: list[str], message: str) -> None:
    with pytest.raises((UserError, ValidationError), match=message):
        run(*overrides)


def test_the_script_without_torch_gives_the_predictors_poses(
    run: Any, checkpoint: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 255, (12, 20, 3), np.uint8), (500, 300))
    cv2.imwrite(str(tmp_path / "a.png"), photo)
    boxes = [[30.0, 20.0, 60.0, 90.0], [-40.0, 10.0, 460.0, 280.0]]
    path = run("flip_test=null").path
    blocked = "import sys; sys.modules.update(torch=None, cpn=None); sys.argv = sys.argv[1:];"
    code = f"{blocked} import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(ROOT / "scripts" / "onnx_inference.py"), str(path)]
    for box in boxes:
        command += ["--box", *(str(side) for side in box)]
    command[5:5] = [str(tmp_path / "a.png"), "--picture", str(tmp_path / "b.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = Predictor.from_checkpoint(checkpoint, device="cpu")(
        np.ascontiguousarray(photo[..., ::-1]), np.array(boxes)
    )
    for line, person in zip(done.stdout.splitlines(), expected.people, strict=True):
        triples = np.array(list(json.loads(line)["keypoints"].values()))
        np.testing.assert_allclose(triples[:, 2], person.scores, atol=2e-3)
        near = np.linalg.norm(triples[:, :2] - person.keypoints, axis=1) < 0.5
        assert near.mean() > 0.9
    assert cv2.imread(str(tmp_path / "b.png")) is not None
