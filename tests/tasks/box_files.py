"""COCO JSON files with person boxes of photos."""

import json
from pathlib import Path
from typing import Any


def box_file(
    folder: Path,
    names: list[str],
    annotations: list[dict[str, Any]],
    *,
    size_wh: tuple[int, int] | None = None,
    **more: Any,
) -> Path:
    """A COCO JSON with images 1, 2, ... of these names, of that size where it is given."""
    size = dict(zip(("width", "height"), size_wh, strict=True)) if size_wh else {}
    images = [{"id": index, "file_name": name, **size} for index, name in enumerate(names, 1)]
    path = folder / "boxes.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations, **more}))
    return path


def box(image_id: int, category_id: int = 1, width: float = 10.0, **more: Any) -> dict[str, Any]:
    bbox = [image_id, 0, width, 20]
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, **more}
