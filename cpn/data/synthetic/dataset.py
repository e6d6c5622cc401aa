"""Writing generated people as an ordinary COCO keypoint data set.

    <out>/images/<split>/000000000001.jpg …
    <out>/annotations/person_keypoints_<split>.json

Every picture is a pure function of (seed, split, index, size, people): neither the number of
workers nor the number of pictures changes it.
"""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from cpn.data.synthetic.background import Picture
from cpn.data.synthetic.scene import SeenPerson, render_scene
from cpn.errors import UserError
from cpn.files.atomic import write_atomically, write_json
from cpn.process.pool import process_pool
from cpn.skeleton import COCO_17

# Below this many pixels a person is a splinter at the frame's edge and is not annotated at all.
_SMALLEST_AREA = 80
# With fewer visible keypoints nobody could annotate the rest: such a person keeps its box and mask
# but num_keypoints is 0, as in COCO.
_FEWEST_VISIBLE = 4
_CHUNK = 16

Annotation = dict[str, Any]


@dataclass(frozen=True)
class SyntheticSettings:
    """What determines the pictures of a split.

    Attributes:
        split: name of the split; "train" and "val" of one seed have no picture in common.
        seed: whole number >= 0.
        image_size_hw: height and width in pixels, at least 32.
        max_people: most people in a picture, at least 1.
        jpeg_quality: best JPEG quality, 10 to 100; pictures lie up to 35 below it.

    Raises:
        UserError: a value is out of range.
    """

    split: str
    seed: int
    image_size_hw: tuple[int, int] = (240, 320)
    max_people: int = 4
    jpeg_quality: int = 90

    def __post_init__(self) -> None:
        if not self.split or Path(self.split).name != self.split:
            raise UserError(f"split must be a plain file name such as 'train', got {self.split!r}")
        if self.seed < 0:
            raise UserError(f"seed must be 0 or more, got {self.seed}")
        if min(self.image_size_hw) < 32:
            raise UserError(f"image_size_hw must be at least (32, 32), got {self.image_size_hw}")
        if self.max_people < 1:
            raise UserError(f"max_people must be 1 or more, got {self.max_people}")
        if not 10 <= self.jpeg_quality <= 100:
            raise UserError(f"jpeg_quality must be within 10..100, got {self.jpeg_quality}")


class RenderedImage(NamedTuple):
    """An (H, W, 3) RGB picture, its annotations without ids, and its JPEG quality."""

    picture: Picture
    annotations: list[Annotation]
    jpeg_quality: int


class SyntheticSummary(NamedTuple):
    """Where a generated split lies and what is in it."""

    images: Path
    annotations: Path
    num_images: int
    num_people: int
    num_with_keypoints: int
    images_per_second: float


def render_image(settings: SyntheticSettings, index: int) -> RenderedImage:
    """Draw picture `index` (from 0) of a split with its COCO annotations."""
    name = hashlib.sha256(settings.split.encode()).digest()
    key = np.array([settings.seed, int.from_bytes(name[:8], "little")], np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    scene = render_scene(rng, settings.image_size_hw, settings.max_people)
    lowest = max(10, settings.jpeg_quality - 35)
    quality = int(rng.integers(lowest, settings.jpeg_quality + 1))
    annotations = [annotation for person in scene.people if (annotation := annotate(person))]
    return RenderedImage(scene.picture, annotations, quality)


def annotate(person: SeenPerson) -> Annotation | None:
    """Describe a person as COCO does, or return None where too little of it can be seen.

    Boxes and polygons are in edge coordinates, keypoints in pixel-index coordinates.
    """
    area = int(np.count_nonzero(person.mask))
    if area < _SMALLEST_AREA:
        return None
    mask = person.mask.astype(np.uint8)
    keypoints = person.keypoints
    if np.count_nonzero(keypoints[:, 2] == 2) < _FEWEST_VISIBLE:
        keypoints = np.zeros_like(keypoints)
    triplets = [(round(x, 2), round(y, 2), int(v)) for x, y, v in keypoints.tolist()]
    return {
        "segmentation": _polygons(mask),
        "num_keypoints": sum(v > 0 for *_, v in triplets),
        "area": float(area),
        "iscrowd": 0,
        "keypoints": [value for triplet in triplets for value in triplet],
        "bbox": [float(value) for value in cv2.boundingRect(mask)],
        "category_id": 1,
    }


def _polygons(mask: Picture) -> list[list[float]]:
    """Outlines x, y, x, y, … of an (H, W) mask, a quarter of a pixel inside its edge.

    Contours run through pixel centres; twice the size keeps them from losing thin parts, so that
    rasterising the polygons gives the mask again (with holes filled).
    """
    double = cv2.resize(mask, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(double, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [((contour.ravel() + 0.5) / 2).tolist() for contour in contours]


def generate_dataset(
    out: Path,
    *,
    split: str,
    num_images: int,
    seed: int,
    image_size_hw: tuple[int, int] = (240, 320),
    max_people: int = 4,
    jpeg_quality: int = 90,
    workers: int = 0,
) -> SyntheticSummary:
    """Generate a split.

    Pictures are renamed into place one by one and the annotations come last, so that an annotation
    file is always complete; one that a former run left is removed first.

    Args:
        out: root of the data set; created if needed.
        split: see `SyntheticSettings`, as all that follow but the numbers of pictures and workers.
        num_images: number of pictures, at least 1.
        seed: whole number >= 0.
        image_size_hw: height and width in pixels.
        max_people: most people in a picture.
        jpeg_quality: best JPEG quality.
        workers: processes that draw; 0 draws in this one.

    Returns:
        Paths and counts.

    Raises:
        UserError: a count is out of range or `out` cannot be a folder.
    """
    if num_images < 1:
        raise UserError(f"num_images must be 1 or more, got {num_images}")
    if workers < 0:
        raise UserError(f"workers must be 0 or more, got {workers}")
    settings = SyntheticSettings(split, seed, image_size_hw, max_people, jpeg_quality)
    images, file = _make_folders(out, split)
    started = time.perf_counter()
    per_image = list(_draw_all(partial(_draw_file, settings, images), num_images, workers))
    seconds = time.perf_counter() - started
    annotations = _number(per_image)
    file.parent.mkdir(exist_ok=True)
    write_json(file, _coco(settings, num_images, annotations))
    with_keypoints = sum(annotation["num_keypoints"] > 0 for annotation in annotations)
    return SyntheticSummary(
        images, file, num_images, len(annotations), with_keypoints, num_images / seconds
    )


def file_name(index: int) -> str:
    """Name of picture `index` (from 0): twelve digits of its image id, index + 1, as in COCO."""
    return f"{index + 1:012d}.jpg"


def _make_folders(out: Path, split: str) -> tuple[Path, Path]:
    """Make the folder of images, remove a former annotation file; return both paths."""
    images, file = out / "images" / split, out / "annotations" / f"person_keypoints_{split}.json"
    try:
        images.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"cannot write {out}: a file is in the way; give another `out`") from None
    return images, file


def _draw_all(
    draw: "partial[list[Annotation]]", num_images: int, workers: int
) -> Iterator[list[Annotation]]:
    if workers == 0:
        yield from map(draw, range(num_images))
        return
    with process_pool(workers, prepare=partial(cv2.setNumThreads, 1)) as pool:
        yield from pool.map(draw, range(num_images), chunksize=_CHUNK)


def _draw_file(settings: SyntheticSettings, folder: Path, index: int) -> list[Annotation]:
    rendered = render_image(settings, index)
    options = [cv2.IMWRITE_JPEG_QUALITY, rendered.jpeg_quality]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(rendered.picture, cv2.COLOR_RGB2BGR), options)
    write_atomically(folder / file_name(index), data.tobytes(), sync=False)
    return rendered.annotations


def _number(per_image: list[list[Annotation]]) -> list[Annotation]:
    """Give image ids and annotation ids, both counted from 1."""
    flat = [(index, annotation) for index, row in enumerate(per_image) for annotation in row]
    return [
        {"id": number, "image_id": index + 1, **annotation}
        for number, (index, annotation) in enumerate(flat, start=1)
    ]


def _info(settings: SyntheticSettings, num_images: int) -> dict[str, Any]:
    described = asdict(settings) | {"image_size_hw": list(settings.image_size_hw)}
    return {"description": "generated people", "version": 2, "num_images": num_images, **described}


def _coco(
    settings: SyntheticSettings, num_images: int, annotations: list[Annotation]
) -> dict[str, Any]:
    height, width = settings.image_size_hw
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(COCO_17.keypoint_names),
        "skeleton": [[start + 1, end + 1] for start, end in COCO_17.limbs],
    }
    return {
        "info": _info(settings, num_images),
        "licenses": [],
        "images": [
            {"id": index + 1, "file_name": file_name(index), "height": height, "width": width}
            for index in range(num_images)
        ],
        "annotations": annotations,
        "categories": [category],
    }
