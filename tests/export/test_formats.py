import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cpn.errors import UserError
from cpn.export.formats import SUFFIXES, Format, write_format
from cpn.export.graph import PoseGraph
from cpn.export.quantization import quantize_onnx
from cpn.export.runtimes import OnnxRuntime, TorchRuntime
from tests.export.cases import INPUT_HW, MARGIN, estimator, people

MODULES = {"onnx": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt"}


@pytest.mark.parametrize(
    ("method", "flip_test"), [("dark", False), ("dark", True), ("quarter", True)]
)
@pytest.mark.parametrize("name", SUFFIXES)
def test_every_format_gives_pytorchs_poses(
    name: Format, method: str, flip_test: bool, tmp_path: Path
) -> None:
    if name in MODULES:
        pytest.importorskip(MODULES[name], reason=f"{name} needs {MODULES[name]}")
    if name == "tensorrt" and not torch.cuda.is_available():
        pytest.skip("tensorrt needs a GPU")
    graph = PoseGraph(estimator(method=method, flip_test=flip_test), INPUT_HW, MARGIN)
    example = tuple(map(torch.from_numpy, people(2)))
    path = tmp_path / f"model{SUFFIXES[name]}"
    runtime = write_format(name, graph, (example[0], example[1]), path, {"cpn.input": "{}"})
    assert path.stat().st_size > 1000
    if runtime is None:
        return
    for count in (1, 2, 5):
        crops, boxes = people(count)
        expected = TorchRuntime(graph)(crops, boxes)
        found = runtime(crops, boxes)
        np.testing.assert_allclose(found.keypoints, expected.keypoints, rtol=0, atol=2e-3)
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_int8_is_near(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    graph = PoseGraph(estimator(), INPUT_HW, MARGIN)
    crops, boxes = people(9)
    example = (torch.from_numpy(crops[:2]), torch.from_numpy(boxes[:2]))
    write_format("onnx", graph, example, tmp_path / "a.onnx", {"cpn.precision": json.dumps("fp32")})
    quantize_onnx(tmp_path / "a.onnx", tmp_path / "b.onnx", crops, boxes)
    found, expected = (OnnxRuntime(tmp_path / name)(crops, boxes) for name in ("b.onnx", "a.onnx"))
    assert 0 < np.abs(found.scores - expected.scores).max() < 0.05
    assert np.median(np.abs(found.keypoints - expected.keypoints)) < 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"needs more: pip install 'cpn-pose\[export\]' \("):
        OnnxRuntime(tmp_path / "a.onnx")
