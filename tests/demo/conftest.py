"""One model file for all tests of the page."""

from pathlib import Path

import pytest

from tests.demo.cases import write_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model") / "model.safetensors")
