"""The reader, the crop and the loader on real photos."""

import os
from pathlib import Path

import pytest
import torch

from cpn.data.annotations import read_person_annotations
from cpn.data.augmentation import Augmentation
from cpn.data.loaders import eval_loader, train_loader
from cpn.data.pose_dataset import PoseDataset
from cpn.data.transforms import PersonTransform

pytestmark = pytest.mark.people


@pytest.fixture
def folder() -> Path:
    if "CPN_PEOPLE" not in os.environ:
        pytest.skip("set CPN_PEOPLE to the folder of the real photos to run this")
    return Path(os.environ["CPN_PEOPLE"])


def test_counts_of_the_real_set(folder: Path) -> None:
    annotations = folder / "annotations" / "person_keypoints_train.json"
    people = read_person_annotations(annotations, folder / "images")
    assert len(people.instances) == 2767
    assert people.dropped == {"too few labelled keypoints": 71, "crowd": 5}


def test_real_persons_become_batches(folder: Path) -> None:
    annotations = folder / "annotations" / "person_keypoints_val.json"
    people = read_person_annotations(annotations, folder / "images", for_training=False, limit=40)
    hw = (128, 96)
    training = PersonTransform(people.skeleton, hw, augmentation=Augmentation())
    batches = list(train_loader(PoseDataset(people.instances, training), global_batch=8))
    assert len(batches) == 5
    labelled = torch.cat([batch.visibility for batch in batches]) > 0
    assert 0.3 < labelled.float().mean() < 1.0
    evaluation = PoseDataset(people.instances, PersonTransform(people.skeleton, hw))
    evaluated = list(eval_loader(evaluation, batch_size=16))
    shown = torch.cat([batch.points[batch.visibility > 0] for batch in evaluated])
    inside = ((shown > -1) & (shown < torch.tensor([96.0, 128.0]))).all(dim=1)
    assert inside.float().mean() > 0.95  # COCO's boxes leave out some hidden keypoints
