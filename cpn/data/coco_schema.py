"""What is read of COCO files, typed and strict. Fields that are not named here are skipped.

Masks (`segmentation`) are deliberately among the skipped: nothing here needs them, and decoding
run-lengths of unknown origin is a risk.
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec

from cpn.errors import UserError

# numpy int64 and pycocotools hold these ids exactly, also where they pass through a double.
Id = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
PixelCount = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
# Far beyond any photo, and sums and products of such numbers stay finite.
Coordinate = Annotated[float, msgspec.Meta(ge=-1e7, le=1e7)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
Loaded = TypeVar("Loaded")


class CocoImage(msgspec.Struct, frozen=True):
    """One entry of `images`."""

    id: Id
    file_name: Annotated[str, msgspec.Meta(min_length=1)]
    width: PixelCount
    height: PixelCount


class CocoCategory(msgspec.Struct, frozen=True):
    """One entry of `categories`; `skeleton` holds 1-based pairs of `keypoints`."""

    id: Id
    name: str
    keypoints: list[str] = []
    skeleton: list[tuple[int, int]] = []


class CocoAnnotation(msgspec.Struct, frozen=True):
    """One entry of `annotations`; `keypoints` is K times x, y, v."""

    id: Id
    image_id: Id
    category_id: Id
    bbox: Box
    keypoints: list[Coordinate] | None = None
    area: Annotated[float, msgspec.Meta(ge=0)] | None = None
    iscrowd: Literal[0, 1] = 0


class CocoKeypointFile(msgspec.Struct, frozen=True):
    """A COCO keypoint annotation file."""

    images: list[CocoImage]
    annotations: list[CocoAnnotation]
    categories: list[CocoCategory]


class CocoDetection(msgspec.Struct, frozen=True):
    """One entry of a COCO detection results file."""

    image_id: Id
    category_id: Id
    bbox: Box
    score: float


def decode_json_file(path: Path, kind: type[Loaded]) -> Loaded:
    """Reads a JSON file as one of the types above.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is not JSON (NaN and Infinity are not), or a value has the wrong type or
            range; the message names the file and the record.
    """
    if not path.is_file():
        raise FileNotFoundError(f"annotation file not found: {path}")
    content = path.read_bytes()
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UserError(f"{path}: {_explain(content, error)}") from error


class PersonRecord(Protocol):
    """What tells whether an annotation can be cropped."""

    @property
    def category_id(self) -> int: ...  # noqa: D102
    @property
    def bbox(self) -> Box: ...  # noqa: D102
    @property
    def iscrowd(self) -> int: ...  # noqa: D102


def unusable_reason(record: PersonRecord, category_id: int | None) -> str:
    """Why an annotation gives no person to crop; empty for one that does."""
    if record.category_id != category_id:
        return "other category"
    if record.iscrowd:
        return "crowd"
    return "box without area" if min(record.bbox[2:]) <= 0 else ""


def describe_ids(ids: Sequence[object]) -> str:
    """'5 (1, 2, 3, …)': a count and the first five."""
    shown = ", ".join(str(value) for value in ids[:5])
    return f"{len(ids)} ({shown}{', …' if len(ids) > 5 else ''})"


def _explain(content: bytes, error: Exception) -> str:
    """Adds the record id to msgspec's message, which knows only positions."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return f"not valid JSON: {error}"
    path = _find_non_finite(document, "$")
    if path is not None:
        value = "NaN and Infinity are not allowed; mend or remove the record"
        return f"not a finite number at {path}{_record_id(document, path)}; {value}"
    where = re.search(r"`(\$[^`]*)`", str(error))
    return f"{error}{_record_id(document, where.group(1) if where else '$')}"


def _find_non_finite(value: object, path: str) -> str | None:
    """The path of the first NaN or infinite number, depth first."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    children: list[tuple[str, object]] = []
    if isinstance(value, dict):
        children = [(f"{path}.{key}", child) for key, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    found = (_find_non_finite(child, child_path) for child_path, child in children)
    return next((hit for hit in found if hit is not None), None)


def _record_id(document: Any, path: str) -> str:  # noqa: ANN401  (any JSON)
    """' (id 17)' of the record of a list that `path` runs through, or nothing."""
    match = re.match(r"\$(?:\.(\w+))?\[(\d+)\]", path)
    if match is None:
        return ""
    records = document[match.group(1)] if match.group(1) else document
    record = records[int(match.group(2))]
    return f" (id {record['id']})" if isinstance(record, dict) and "id" in record else ""
