"""Photos to measure with: the user's own, or generated ones as heavy to decode as COCO's."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from cpn.config.schema import BenchmarkConfig
from cpn.data.annotations import PersonAnnotations, read_person_annotations
from cpn.data.image_files import read_image
from cpn.data.synthetic import generate_dataset
from cpn.tasks.data.datasets import read_people_with_photos

NUM_PHOTOS = 64
PHOTO_HW = (480, 640)
# With this grain and quality the files have 153 kB on average; COCO's train2017 has 118,287 photos
# in 18 GB, 152 kB each. What a JPEG costs to decode depends on its bytes as much as on its pixels.
GRAIN = 8.0
QUALITY = 95


@contextmanager
def people_to_measure(config: BenchmarkConfig) -> Iterator[PersonAnnotations]:
    """The training people of `data`, or generated ones in a folder that is deleted afterwards."""
    if config.photos == "data":
        yield read_people_with_photos(config.data)
        return
    with tempfile.TemporaryDirectory(prefix="cpn-benchmark-") as folder:
        summary = generate_dataset(
            Path(folder), split="train", num_images=NUM_PHOTOS, seed=0, image_size_hw=PHOTO_HW
        )
        for number, path in enumerate(sorted(summary.images.glob("*.jpg"))):
            _roughen(path, np.random.default_rng(number))
        yield read_person_annotations(summary.annotations, summary.images)


def _roughen(path: Path, rng: np.random.Generator) -> None:
    photo = read_image(path)
    grain = rng.normal(0.0, GRAIN, (*photo.shape[:2], 1))
    grainy = np.clip(photo + grain, 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), grainy[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
