"""People whose cache has three shards, and people whose photo is so large that it is halved."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cpn.data.annotations import PersonAnnotations
from cpn.data.persons import PersonInstances
from tests.conftest import TinyCoco
from tests.data.crop_cache.cases import read_people, write_large_coco


@pytest.fixture
def crowd(tiny_coco: TinyCoco) -> PersonInstances:
    """Six people in four photos; two a shard."""
    return read_people(tiny_coco).instances


@pytest.fixture
def large_people(tiny_coco: TinyCoco, tmp_path: Path) -> Callable[[str], PersonAnnotations]:
    """`large_people(".jpg")`, see `write_large_coco`."""
    category = tiny_coco.read()["categories"][0]
    return lambda suffix: read_people(write_large_coco(tmp_path, category, suffix))
