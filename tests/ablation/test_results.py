from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from cpn.ablation.results import BOX_NUMBERS, RESAMPLING_SEED, RunFigures, same_images
from cpn.errors import UserError
from cpn.evaluation.bootstrap import resampled_statistics
from cpn.evaluation.coco_boxes import BOX_METRICS, match_boxes
from cpn.evaluation.coco_keypoints import COCO_METRICS
from tests.bootstrap_coverage import draw
from tests.evaluation.test_coco_boxes import crowded


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


def box_figures() -> RunFigures:
    matches = match_boxes(*crowded(0)).coco.matches()
    return RunFigures.of("id", matches, {}, resamples=5, numbers=BOX_NUMBERS)


def test_boxes_have_numbers_of_their_own(tmp_path: Path) -> None:
    saved, path = box_figures(), tmp_path / "figures.npz"
    saved.save(path)
    found = RunFigures.load(path)
    assert tuple(found.metrics) == BOX_METRICS
    np.testing.assert_array_equal(
        list(found.metrics.values()), list(match_boxes(*crowded(0)).metrics.values())
    )
    np.testing.assert_array_equal(found.resampled, saved.resampled)
    assert found.resampled.shape == (5, len(BOX_METRICS))


def rewritten(path: Path, *, names: list[str] | None) -> None:
    """The same file with other names of the numbers, or none."""
    with np.load(path) as arrays:
        held = dict(arrays)
    header = msgspec.json.decode(held["header"].tobytes())
    del header["names"]
    header |= {} if names is None else {"names": names}
    held["header"] = np.frombuffer(msgspec.json.encode(header), dtype=np.uint8)
    np.savez_compressed(path, **held)


def test_a_file_from_before_numbers_had_names_is_of_poses(tmp_path: Path) -> None:
    path = tmp_path / "figures.npz"
    figures().save(path)
    rewritten(path, names=None)
    assert list(RunFigures.load(path).metrics) == list(COCO_METRICS)
    rewritten_boxes = tmp_path / "boxes.npz"
    box_figures().save(rewritten_boxes)
    rewritten(rewritten_boxes, names=["AP"])
    with pytest.raises(UserError, match=r"boxes.npz is of another version of cpn; delete it"):
        RunFigures.load(rewritten_boxes)


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
    assert not same_images([figures(), replace(figures(), names=BOX_METRICS[:10])])
    assert not same_images([figures(), figures(resamples=6)])
