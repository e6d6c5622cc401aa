"""People to verify an exported graph on: the user's, or generated ones."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cpn.config.data_schema import InputConfig
from cpn.data.annotations import read_person_annotations
from cpn.data.synthetic import SyntheticSettings, render_image
from cpn.geometry.boxes import xywh_to_xyxy
from cpn.geometry.crop import crop_matrix, grow_box, warp_crop
from cpn.tasks.data.datasets import evaluation_dataset


class ExportPeople(NamedTuple):
    """P people, as `PoseGraph.forward` takes them.

    Attributes:
        crops: (P, H, W, 3) uint8 RGB.
        boxes_xyxy: (P, 4) float32, edge frame of their photos.
    """

    crops: npt.NDArray[np.uint8]
    boxes_xyxy: npt.NDArray[np.float32]

    def first(self, count: int) -> "ExportPeople":
        """So many, from the beginning again where there are fewer."""
        chosen = np.arange(count) % len(self.crops)
        return ExportPeople(self.crops[chosen], self.boxes_xyxy[chosen])


def annotated_people(
    input_config: InputConfig, annotations: Path, images: Path, *, limit: int
) -> ExportPeople:
    """The first people of a COCO keypoint file.

    Raises:
        UserError: the file or a photo cannot be used.
    """
    people = read_person_annotations(
        annotations, images, sigmas="default", flip_pairs=[], limit=limit
    )
    dataset = evaluation_dataset(people, input_config)
    boxes = xywh_to_xyxy(people.instances.boxes_xywh).astype(np.float32)
    crops = np.stack([dataset[0, index].crop for index in range(len(dataset))])
    return ExportPeople(crops, boxes)


def generated_people(input_config: InputConfig, count: int) -> ExportPeople:
    """People of `make_synthetic.py`, drawn on the spot."""
    settings = SyntheticSettings("export", seed=0, max_people=1)
    height, width = input_config.size_hw
    crops: list[npt.NDArray[np.uint8]] = []
    boxes: list[npt.NDArray[np.float64]] = []
    index = 0
    while len(crops) < count:
        drawn = render_image(settings, index)
        for person in drawn.annotations[: count - len(crops)]:
            center, size = grow_box(
                person["bbox"], aspect=width / height, margin=input_config.margin
            )
            matrix = crop_matrix(center, size, (height, width))
            crops.append(warp_crop(drawn.picture, matrix, (height, width)))
            boxes.append(xywh_to_xyxy(person["bbox"]))
        index += 1
    return ExportPeople(np.stack(crops), np.array(boxes, dtype=np.float32))
