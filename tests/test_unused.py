"""Nothing that nobody uses: code, dependencies; and functions that fit a screen.

Configuration keys that nothing reads are looked for in `config/test_every_key_is_read.py`.
"""

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from vulture import Vulture

ROOT = Path(__file__).parents[1]
FOLDERS = ("cpn", "scripts")
# Called by others than our code: by file, or by name.
CALLED_FROM_OUTSIDE = {
    "cpn/__init__.py": {"__getattr__"},  # Python, for `cpn.Predictor`
    "cpn/config/network_schema.py": {*(f"p{level}" for level in range(2, 8))},
    "cpn/convert/coco_like.py": {"foot_kpts", "face_kpts", "lefthand_kpts", "righthand_kpts"},
    "cpn/detection/mask_rcnn.py": {  # torchvision's RoIHeads
        *("mask_predictor", "keypoint_roi_pool", "keypoint_head", "keypoint_predictor"),
    },
    "cpn/export/quantization.py": {"get_next"},  # onnxruntime
    "cpn/export/runtimes.py": {"intra_op_num_threads"},  # onnxruntime
    "cpn/geometry/crop.py": {"__add__", "__sub__", "__mul__", "__truediv__"},  # a protocol
    "cpn/video/reader.py": {"thread_type"},  # PyAV
    # Jinja's templates
    "cpn/ablation/cells.py": {"meaning"},
    "cpn/ablation/subject.py": {"has_keypoints"},
    "cpn/report/data.py": {"meaning", "created", "command_line"},
}
MEDIAN_LINES, MOST_LINES_OF_95_PERCENT = 8, 40


def _unused(*folders: Path) -> dict[str, set[str]]:
    """Names in the folders that are used neither there nor in the tests, by file."""
    search = Vulture(ignore_decorators=["@model_validator*", "@field_validator*"])
    search.scavenge([str(folder) for folder in (*folders, ROOT / "tests")])
    found: dict[str, set[str]] = {}
    for item in search.get_unused_code(min_confidence=60):
        path = Path(item.filename)
        if any(path.is_relative_to(folder) for folder in folders):
            known = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            found.setdefault(known.as_posix(), set()).add(item.name)
    return found


def test_all_code_is_used() -> None:
    found = _unused(*(ROOT / folder for folder in FOLDERS))
    assert found == CALLED_FROM_OUTSIDE, "unused, or no longer to be allowed"


def test_unused_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "room.py").write_text("def quite_forgotten() -> None:\n    pass\n")
    assert _unused(tmp_path) == {str(tmp_path / "room.py"): {"quite_forgotten"}}


def _deptry(folder: Path, *imported: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deptry", *imported, "--no-ansi"],
        check=False,
        capture_output=True,
        text=True,
        cwd=folder,
    )


def test_every_dependency_is_declared_and_used() -> None:
    done = _deptry(ROOT, "cpn")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("declared", "imported", "rule"),
    [("numpy", "import numpy, scipy", "DEP003|DEP001"), ("numpy", "import os", "DEP002")],
)
def test_a_wrong_dependency_is_found(
    tmp_path: Path, declared: str, imported: str, rule: str
) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room/a.py").write_text(f"{imported}\n")
    text = f'[project]\nname = "room"\nversion = "1"\ndependencies = ["{declared}"]\n'
    (tmp_path / "pyproject.toml").write_text(text)
    done = _deptry(tmp_path, "room")
    assert done.returncode == 1
    assert any(one in done.stderr for one in rule.split("|"))


def _lengths() -> list[int]:
    """Lines of every function, without its docstring."""
    found = []
    for file in (file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0] if ast.get_docstring(node) else None
                said = 0 if first is None else (first.end_lineno or 0) - first.lineno + 1
                found.append((node.end_lineno or 0) - node.lineno + 1 - said)
    return found


def test_functions_fit_a_screen() -> None:
    lengths = _lengths()
    assert statistics.median(lengths) <= MEDIAN_LINES
    assert statistics.quantiles(lengths, n=20)[-1] <= MOST_LINES_OF_95_PERCENT
