"""`cpn PROGRAM`, and that an installed package has all that a program needs."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

import cpn
from cpn import __main__ as command

ROOT = Path(__file__).parents[1]


def _run(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "cpn", *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )


def test_every_program_is_listed_with_its_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(command.programs()) == {file.stem for file in (ROOT / "scripts").glob("*.py")}
    for arguments in (["cpn"], ["cpn", "--help"]):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", arguments)
            command.main()
        told = capsys.readouterr().out
        assert all(f"  {name} " in told for name in command.programs())
        assert "  train              Train a CPN\n" in told


def test_a_program_runs_from_anywhere_as_its_file_does(tmp_path: Path) -> None:
    done = _run("make_synthetic", "train_images=1", "val_images=1", "workers=0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "data/synthetic/annotations/person_keypoints_val.json").is_file()
    wrong = _run("make_synthetic", "trainimages=1", cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: ")
    assert "train_images" in wrong.stderr


def test_an_unknown_program_is_told_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cpn", "../train"])
        with pytest.raises(SystemExit) as left:
            command.main()
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.startswith("error: no program '../train'; there are: ablate, ")
    assert told.endswith("; did you mean train?\n")


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cpn", "--version"])
        command.main()
    assert capsys.readouterr().out == f"cpn {cpn.__version__}\n" == "cpn 0.1.0\n"


def test_the_wheel_holds_every_program_and_config(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert f"-{cpn.__version__}-" in Path(wheel).name
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, pattern in (("configs", "**/*.yaml"), ("scripts", "*.py")):
        files = [file.relative_to(ROOT) for file in (ROOT / folder).glob(pattern)]
        assert files
        assert {f"cpn/programs/{file.as_posix()}" for file in files} <= names
    own = {f.relative_to(ROOT).as_posix() for f in (ROOT / "cpn").rglob("*") if f.is_file()}
    assert {name for name in own if "__pycache__" not in name} <= names
    assert all(name.startswith(("cpn/", "cpn_pose-")) for name in names)


def test_a_wheel_can_be_made_of_the_source_archive(tmp_path: Path) -> None:
    (archive,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"configs/train.yaml", "scripts/train.py", "cpn/__main__.py", "LICENSE"} <= names
    assert not any(name.startswith(("data/", "runs/", "tests/", "docs/")) for name in names)
