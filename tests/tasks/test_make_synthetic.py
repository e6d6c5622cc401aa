"""Generated people on disk, as `data=synthetic` expects them."""

import json
from pathlib import Path

import pytest

from cpn.config.data_schema import MakeSyntheticConfig
from cpn.errors import UserError
from cpn.tasks.make_synthetic import make_synthetic


def test_both_splits_are_written_once(tmp_path: Path) -> None:
    config = MakeSyntheticConfig(
        out=str(tmp_path / "people"),
        seed=0,
        train_images=3,
        val_images=2,
        height=96,
        width=128,
        max_people=2,
        workers=0,
    )
    make_synthetic(config)
    annotations = tmp_path / "people" / "annotations"
    sizes = {
        split: len(
            json.loads((annotations / f"person_keypoints_{split}.json").read_text())["images"]
        )
        for split in ("train", "val")
    }
    assert sizes == {"train": 3, "val": 2}
    with pytest.raises(UserError, match="holds a data set already"):
        make_synthetic(config)
    before = (annotations / "person_keypoints_train.json").stat().st_mtime_ns
    (annotations / "person_keypoints_val.json").unlink()
    make_synthetic(config)
    assert (annotations / "person_keypoints_train.json").stat().st_mtime_ns == before
