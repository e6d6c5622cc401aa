"""What reading a training file as large as COCO's costs, beside `json.load`.

    python -m tests.parser_cost [--people 262465] [--rounds 5] [--file /tmp/cpn_coco_train.json]

The generated file has as many person annotations as person_keypoints_train2017.json, 262,465, on
as many of its photos, with segmentations. Every round reads it in a new process, the ways in turn;
processor time, and the most memory the process had beyond what its imports take.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

PHOTOS, PEOPLE = 64_115, 262_465
DEFAULT = Path("/tmp/cpn_coco_train.json")


def write_file(path: Path, people: int) -> None:
    """Half of the people have labelled keypoints, as in COCO."""
    draw = random.Random(0)
    photos = max(1, people * PHOTOS // PEOPLE)
    names = [f"keypoint_{k}" for k in range(17)]
    document = {
        "info": {"description": "generated"},
        "images": [_photo(number) for number in range(1, photos + 1)],
        "annotations": [_person(number, photos, draw) for number in range(1, people + 1)],
        "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}],
    }
    path.write_text(json.dumps(document))


def _photo(number: int) -> dict[str, object]:
    name = f"{number:012d}.jpg"
    url = f"http://images.cocodataset.org/train2017/{name}"
    sizes = {"height": 480, "width": 640}
    return {"license": 3, "file_name": name, "coco_url": url, **sizes, "id": number}


def _person(number: int, photos: int, draw: random.Random) -> dict[str, object]:
    labelled = number % 2
    triples = [
        [draw.randrange(640), draw.randrange(480), draw.choice((1, 2))] if labelled else [0, 0, 0]
        for _ in range(17)
    ]
    outline = [round(draw.uniform(0, 640), 2) for _ in range(60)]
    return {
        "segmentation": [outline],
        "num_keypoints": 17 * labelled,
        "area": round(draw.uniform(100, 90_000), 4),
        "iscrowd": 0,
        "keypoints": [value for triple in triples for value in triple],
        "image_id": 1 + number % photos,
        "bbox": [round(draw.uniform(1, 400), 2) for _ in range(4)],
        "category_id": 1,
        "id": number,
    }


def _json_load(path: Path) -> Callable[[], object]:
    def read() -> object:
        with path.open() as file:
            return json.load(file)

    return read


def _untyped(path: Path) -> Callable[[], object]:
    import msgspec  # noqa: PLC0415 - each process imports what it uses

    return lambda: msgspec.json.decode(path.read_bytes())


def _pydantic(path: Path) -> Callable[[], object]:
    """The types of `cpn.coco.records`, without its checks."""
    from pydantic import BaseModel  # noqa: PLC0415

    class Photo(BaseModel):
        id: int
        file_name: str
        width: int
        height: int

    class Annotation(BaseModel):
        id: int
        image_id: int
        category_id: int
        bbox: tuple[float, float, float, float]
        area: float | None = None
        iscrowd: int = 0
        keypoints: list[float] | None = None
        num_keypoints: int | None = None

    class Category(BaseModel):
        id: int
        name: str = ""
        keypoints: list[str] | None = None

    class File(BaseModel):
        images: list[Photo]
        annotations: list[Annotation]
        categories: list[Category]

    return lambda: File.model_validate_json(path.read_bytes())


def _reader(path: Path) -> Callable[[], object]:
    from cpn.coco.annotation_file import CocoFile, read_annotation_file  # noqa: PLC0415
    from cpn.coco.records import CocoPhoto  # noqa: PLC0415

    return lambda: read_annotation_file(path, CocoFile[CocoPhoto])


def _people(path: Path) -> Callable[[], object]:
    from cpn.data.annotations import Standards, read_person_annotations  # noqa: PLC0415

    standards = Standards(needs_photos=False)
    sigmas = [0.1] * 17
    return lambda: read_person_annotations(path, Path(), sigmas=sigmas, standards=standards)


WAYS: dict[str, Callable[[Path], Callable[[], object]]] = {
    "json.load": _json_load,
    "msgspec, untyped": _untyped,
    "pydantic, typed": _pydantic,
    "cpn: typed and checked": _reader,
    "cpn: as arrays of people": _people,
}


def _measure(way: str, path: Path) -> None:
    """In a process of its own: seconds and mebibytes on one line."""
    read = WAYS[way](path)
    before, began = _peak(), time.process_time()
    kept = read()
    seconds = time.process_time() - began
    sys.stdout.write(f"{seconds} {_peak() - before}\n")
    del kept


def _peak() -> float:
    """Linux's figure for this program; getrusage's begins with that of whoever forked it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    """Writes the file where there is none, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--file", type=Path, default=DEFAULT)
    parser.add_argument("--way", choices=WAYS)
    options = parser.parse_args()
    if options.way:
        _measure(options.way, options.file)
        return
    if not options.file.exists():
        write_file(options.file, options.people)
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, figures in found.items():
            command = [sys.executable, "-m", "tests.parser_cost", "--way", way]
            command += ["--file", str(options.file)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures.append([float(figure) for figure in done.stdout.split()])
    size = options.file.stat().st_size / 1e6
    sys.stdout.write(f"{options.file}: {size:.1f} MB, medians of {options.rounds}\n")
    base = statistics.median(seconds for seconds, _ in found["json.load"])
    for way, figures in found.items():
        seconds, memory = (statistics.median(column) for column in zip(*figures, strict=True))
        ratio = f"{seconds / base:.2f} x json.load"
        sys.stdout.write(f"{way:26} {seconds:6.2f} s  {ratio}  {memory:7.0f} MiB\n")


if __name__ == "__main__":
    main()
