from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import fsspec
import numpy as np
import pytest

import cpn
from cpn.errors import UserError
from tests.demo.cases import write_checkpoint

ADDRESS = "memory://models/pose.safetensors"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "pose.safetensors")


@pytest.fixture
def published(model_file: Path) -> Iterator[str]:
    with fsspec.open(ADDRESS, "wb") as file:
        file.write(model_file.read_bytes())
    yield ADDRESS
    fsspec.filesystem("memory").rm("/models", recursive=True)


def test_a_model_is_fetched_once(published: str, model_file: Path, tmp_path: Path) -> None:
    image = np.full((64, 48, 3), 90, np.uint8)
    expected = cpn.load(model_file)(image).keypoints
    kept = tmp_path / "kept"
    np.testing.assert_array_equal(cpn.load(published, folder=kept)(image).keypoints, expected)
    assert [path.name[17:] for path in kept.glob("*.safetensors")] == ["pose.safetensors"]
    fsspec.filesystem("memory").rm("/models", recursive=True)
    np.testing.assert_array_equal(cpn.load(published, folder=kept)(image).keypoints, expected)
    with fsspec.open(ADDRESS, "wb") as file:  # for the fixture's end
        file.write(b"")


def test_another_hash_is_refused(published: str, model_file: Path, tmp_path: Path) -> None:
    right = sha256(model_file.read_bytes()).hexdigest()
    cpn.load(published, sha256=right.upper(), folder=tmp_path)
    with pytest.raises(UserError, match=rf"{ADDRESS[:30]}.*its SHA-256 is {right}, not 00"):
        cpn.load(published, sha256="00", folder=tmp_path)
    with pytest.raises(UserError, match=rf"its SHA-256 is {right}"):
        cpn.load(model_file, sha256="00")
    with pytest.raises(UserError, match="its SHA-256"):
        cpn.load(published, sha256="00", folder=tmp_path / "new")
    assert [path.suffix for path in (tmp_path / "new").iterdir()] in ([], [".lock"])


def test_what_is_no_model_is_not_kept(published: str, tmp_path: Path) -> None:
    with fsspec.open(ADDRESS, "wb") as file:
        file.write(b"<html>404</html>")
    with pytest.raises(UserError, match=r"pose\.safetensors.*: no model file of this project"):
        cpn.load(published, folder=tmp_path)
    assert not list(tmp_path.glob("*safetensors"))


def test_an_address_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"memory://nowhere/a\.safetensors: cannot be read"):
        cpn.load("memory://nowhere/a.safetensors", folder=tmp_path)
    with pytest.raises(UserError, match=r"nothing://x/a\.safetensors: cannot be read: ValueError"):
        cpn.load("nothing://x/a.safetensors", folder=tmp_path)
    with pytest.raises(FileNotFoundError):
        cpn.load(tmp_path / "none.safetensors")
