import numpy as np
import torch

from cpn.data.sample import PoseSample, collate_samples


def _sample(number: int) -> PoseSample:
    return PoseSample(
        crop=np.tile(np.arange(number, number + 3, dtype=np.uint8), (4, 3, 1)),
        points=np.full((2, 2), number, np.float32),
        visibility=np.array([number, 0]),
        image_to_crop=np.full((2, 3), float(number)),
        instance_id=10 + number,
        image_id=20 + number,
        box_score=0.5 * number,
        box_area=6.0,
    )


def test_collate_stacks_every_field() -> None:
    batch = collate_samples([_sample(1), _sample(2)])
    assert batch.num_samples == 2
    assert batch.crops.shape == (2, 3, 4, 3)
    assert batch.crops[1, :, 0, 0].tolist() == [2, 3, 4]
    assert batch.crops.is_contiguous(memory_format=torch.channels_last)
    assert batch.points.dtype == torch.float32
    assert batch.visibility.tolist() == [[1, 0], [2, 0]]
    assert batch.image_to_crop.dtype == torch.float64
    assert (batch.instance_ids.tolist(), batch.image_ids.tolist()) == ([11, 12], [21, 22])
    assert batch.box_scores.tolist() == [0.5, 1.0]
    assert batch.box_areas.tolist() == [6.0, 6.0]


def test_a_batch_moves_as_one() -> None:
    batch = collate_samples([_sample(1)]).to("meta", non_blocking=True)
    assert {field.device.type for field in batch} == {"meta"}
