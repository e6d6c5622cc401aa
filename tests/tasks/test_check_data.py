"""The report on a whole set, as a person gets it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from cpn.command_line.composed import validate
from cpn.config.data_schema import CheckDataConfig
from cpn.tasks.check_data import check_data
from tests.conftest import TinyCoco

ROOT = Path(__file__).parents[2]


def _same_people(train: TinyCoco, folder: Path, name: str) -> TinyCoco:
    """Another set of the same people on other photos."""
    other = TinyCoco(folder / f"{name}.json", folder / name)
    other.images.mkdir()
    for photo in ("001", "002", "003", "004"):
        # PNG readers stop at the end chunk; what follows makes it another file.
        content = (train.images / f"{photo}.png").read_bytes() + name.encode()
        (other.images / f"{photo}.png").write_bytes(content)
    other.write(train.read())
    return other


@pytest.fixture
def val(tiny_coco: TinyCoco, tmp_path: Path) -> TinyCoco:
    """A validation split beside the training one."""
    return _same_people(tiny_coco, tmp_path, "val")


def overrides(train: TinyCoco, val: TinyCoco) -> list[str]:
    return [
        *(f"data.train.annotations={train.annotations}", f"data.train.images={train.images}"),
        *(f"data.val.annotations={val.annotations}", f"data.val.images={val.images}"),
    ]


def check(train: TinyCoco, val: TinyCoco, *more: str) -> bool:
    with initialize_config_dir(str(ROOT / "configs"), version_base="1.3"):
        composed = compose("check_data", overrides=[*overrides(train, val), *more])
    return check_data(validate(composed, CheckDataConfig))


def test_a_sound_set_is_ready(
    tiny_coco: TinyCoco, val: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tiny_coco, val)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"train: {tiny_coco.annotations}"
    assert lines[1] == "  photos       4, all 64 x 48 pixels"
    assert lines[-1] == "verdict: ready to train"
    assert any("left_shoulder" in line and "0.079" in line for line in lines)


def test_all_that_is_wrong_is_told_at_once(
    tiny_coco: TinyCoco, val: TinyCoco, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document: dict[str, Any] = val.read()
    document["annotations"][0]["bbox"] = [1, 2]
    document["annotations"][1]["keypoints"][2] = 9
    del document["annotations"][2]["area"]
    document["annotations"][3]["num_keypoints"] = 3
    val.write(document)
    (val.images / "001.png").unlink()
    shutil.copy(tiny_coco.images / "004.png", val.images / "004.png")
    assert not check(tiny_coco, val, f"out={tmp_path / 'report.json'}")
    text = capsys.readouterr().out
    for expected in (
        "error: 1 annotation (id 1): 'bbox': Expected `array` of length 4, got 2 (value: [1, 2])",
        "error: 1 annotation (id 2): keypoint 'nose' has v = 9",
        "error: 1 annotation (id 3): there is no 'area'",
        "error: 1 photo (id 1): the file is missing (first: 001.png)",
        "warning: 1 annotation (id 4): 'num_keypoints' is not",
        "warning: 1 photo (id 004.png): it is in train and in val",
        "verdict: 4 problems, 2 warnings",
    ):
        assert expected in text
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["ready"], report["verdict"]) == (False, "4 problems, 2 warnings")
    findings = report["splits"]["val"]["findings"]
    assert [f["ids"] for f in findings if f["what"] == "there is no 'area'"] == [[3]]
    assert report["together"][0]["ids"] == ["004.png"]


@pytest.fixture
def mixed(tiny_coco: TinyCoco, tmp_path: Path) -> TinyCoco:
    """A third set: nose and eyes by other names."""
    other = _same_people(tiny_coco, tmp_path, "mixed")
    document = other.read()
    document["categories"][0]["keypoints"][:3] = ["snout", "left_lamp", "right_lamp"]
    other.write(document)
    return other


def _mix(mixed: TinyCoco, keypoints: str = "null") -> str:
    return (
        f"data.mix=[{{annotations: {mixed.annotations}, images: {mixed.images},"
        f" keypoints: {keypoints}}}]"
    )


def test_mixed_sets_are_looked_through_too(
    tiny_coco: TinyCoco, val: TinyCoco, mixed: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = (val.images / "002.png").read_bytes()
    (mixed.images / "002.png").write_bytes(shared)
    assert check(tiny_coco, val, _mix(mixed))
    lines = capsys.readouterr().out.splitlines()
    assert f"mix.0: {mixed.annotations}" in lines
    taken = next(line for line in lines if "taken" in line)
    assert "14 of train's 17 keypoints, without nose, left_eye, right_eye" in taken
    assert any("it is in mix.0 and in val" in line for line in lines)
    assert lines[-1] == "verdict: ready to train, 1 warning"


def test_a_mixed_set_that_gives_nothing_is_a_problem(
    tiny_coco: TinyCoco, val: TinyCoco, mixed: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not check(tiny_coco, val, _mix(mixed, "{nose: lamp}"))
    assert "lamp" in capsys.readouterr().out
    mixed.annotations.unlink()
    assert not check(tiny_coco, val, _mix(mixed))
    assert "no such file" in capsys.readouterr().out


def test_one_split_alone(
    tiny_coco: TinyCoco, val: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    val.annotations.unlink()
    assert check(tiny_coco, val, "splits=[train]")
    assert "val" not in capsys.readouterr().out.splitlines()[-3]
    assert not check(tiny_coco, val)
    assert "error: no annotation file at" in capsys.readouterr().out


def test_what_only_the_reader_refuses_is_told(
    tiny_coco: TinyCoco, val: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    """More labelled keypoints are asked for than anybody has."""
    assert not check(tiny_coco, val, "data.min_keypoints=17")
    text = capsys.readouterr().out
    assert "no person is left to use" in text
    assert "verdict: 1 problem, 0 warnings" in text


def test_photos_that_a_cache_stands_for_are_not_read(
    tiny_coco: TinyCoco, val: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    (tiny_coco.images / "001.png").write_bytes(b"")
    assert check(tiny_coco, val, "data.cache=crops")
    assert "note: photos: data.cache stands for them" in capsys.readouterr().out


def test_a_limit_is_said_not_to_be_obeyed(
    tiny_coco: TinyCoco, val: TinyCoco, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(tiny_coco, val, "data.train.limit=2")
    text = capsys.readouterr().out
    assert "only the first 2 people are used; all are looked at here" in text
    assert "6 with box and keypoints" in text


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 2)])
def test_the_exit_code_says_whether_training_can_start(
    tiny_coco: TinyCoco, val: TinyCoco, broken: bool, code: int
) -> None:
    if broken:
        (val.images / "001.png").unlink()
    command = [sys.executable, str(ROOT / "scripts" / "check_data.py"), *overrides(tiny_coco, val)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert done.stdout.splitlines()[-1].startswith(
        "verdict: ready" if not code else "verdict: 1 pr"
    )
    assert "Traceback" not in done.stderr
