from pathlib import Path

import numpy as np
import pytest

from cpn.ablation.results import RESAMPLING_SEED, RunFigures, same_images
from cpn.errors import UserError
from cpn.evaluation.bootstrap import resampled_statistics
from cpn.evaluation.coco_keypoints import COCO_METRICS
from tests.bootstrap_coverage import draw


def figures(resamples: int = 5, images: int = 30) -> RunFigures:
    whole, other = draw(np.random.default_rng(0), images)
    return RunFigures.of("id", whole, {"nose": other}, resamples=resamples)


def test_ten_numbers_and_one_per_keypoint() -> None:
    whole, other = draw(np.random.default_rng(0), 30)
    found = figures()
    assert list(found.metrics) == list(COCO_METRICS)
    assert found.values[:10].tolist() == whole.statistics().tolist()
    assert found.values[10] == other.statistics()[0]
    drawn = resampled_statistics([whole, other], resamples=5, seed=RESAMPLING_SEED)
    np.testing.assert_array_equal(found.resampled[:, :10], drawn[0])
    np.testing.assert_array_equal(found.resampled[:, 10], drawn[1, :, 0])


def test_a_file_gives_back_what_was_saved(tmp_path: Path) -> None:
    saved, path = figures(), tmp_path / "new" / "figures.npz"
    saved.save(path)
    found = RunFigures.load(path)
    assert (found.use, found.images, found.keypoints) == ("id", saved.images, ("nose",))
    np.testing.assert_array_equal(found.resampled, saved.resampled)


@pytest.mark.parametrize("cut", [0, 10, 200, -1])
def test_a_damaged_file_is_told(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "figures.npz"
    figures().save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"figures.npz is damaged"):
        RunFigures.load(path)


def test_runs_on_other_images_cannot_be_compared() -> None:
    assert same_images([])
    assert same_images([figures(), figures()])
    assert not same_images([figures(), figures(images=31)])
    assert not same_images([figures(), figures(resamples=6)])
