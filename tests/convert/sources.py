"""Tiny sources of every format, written by hand: two photos, known keypoints."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.io

SIZE_HW = (60, 80)


def write_photo(path: Path, size_hw: tuple[int, int] = SIZE_HW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((*size_hw, 3), np.uint8))


def structs(*rows: dict[str, Any]) -> Any:
    """A MATLAB structure array; fields that a row lacks are empty, as MATLAB has it."""
    names = sorted({name for row in rows for name in row})
    array = np.empty((1, len(rows)), dtype=[(name, object) for name in names])
    for k, row in enumerate(rows):
        for name in names:
            array[0, k][name] = row.get(name, np.zeros((0, 0)))
    return array


def write_mpii(path: Path) -> None:
    """Two training photos, the second with nobody labelled, and one for testing."""
    points = structs(
        {"x": 11.0, "y": 21.0, "id": 0, "is_visible": 1},
        {"x": 31.0, "y": 41.0, "id": 5, "is_visible": 0},
        {"x": 21.0, "y": 6.0, "id": 9},
    )
    person = {
        "annopoints": structs({"point": points}),
        "objpos": structs({"x": 31.0, "y": 31.0}),
        "scale": 0.2,
        "x1": 16.0,
        "y1": 1.0,
        "x2": 19.0,
        "y2": 5.0,
    }
    nobody = {name: person[name] for name in ("objpos", "scale")}
    photos = structs(
        {
            "vididx": 3,
            "image": structs({"name": "a.png"}),
            "annorect": structs(person, {"scale": 1.0}),
        },
        {"image": structs({"name": "b.png"})},
        {"image": structs({"name": "t.png"}), "annorect": structs(nobody)},
    )
    release = structs({"annolist": photos, "img_train": np.array([[1, 1, 0]])})
    scipy.io.savemat(path, {"RELEASE": release})


def write_lsp(path: Path, *, extended: bool = False) -> None:
    """Four photos; keypoint k of photo n is at (10 + k, 20 + n), counted from 1."""
    joints = np.zeros((14, 3, 4))
    for n in range(4):
        joints[:, 0, n], joints[:, 1, n] = 10 + np.arange(14), 20 + n
    joints[3, 2] = 1  # LSP: hidden; LSPET: the only one that is labelled, with two others
    joints[4:6, 2] = 1 if extended else 0
    joints[:, 2, 2] = 0
    scipy.io.savemat(path, {"joints": joints if extended else joints.transpose(1, 0, 2)})


def coco_like(count: int, **more: Any) -> dict[str, Any]:
    """A person in a photo of 80 x 60: keypoint k at (k, 2 k), v = 2 but for the last, 0."""
    keypoints = [value for k in range(count) for value in (k % 70, 2 * k % 50, 2)]
    keypoints[-3:] = [5, 5, 0]
    return {
        "images": [{"id": 7, "file_name": "a.png", "height": 60, "width": 80}],
        "annotations": [
            {"id": 3, "image_id": 7, "category_id": 9, "bbox": [10, 10, 20, 30], "iscrowd": 0}
            | {"keypoints": keypoints}
            | more
        ],
        "categories": [{"id": 9, "name": "whatever"}],
    }


def write_json(path: Path, document: object) -> Path:
    path.write_text(json.dumps(document))
    return path


def write_yolo(root: Path, *lines: str, more: str = "") -> Path:
    """data.yaml of three keypoints with v; one photo with the lines given, one without a file."""
    write_photo(root / "images/train/a.png")
    write_photo(root / "images/train/b.png")
    (root / "labels/train").mkdir(parents=True)
    (root / "labels/train/a.txt").write_text("\n".join(lines))
    text = "path: .\ntrain: images/train\nkpt_shape: [3, 3]\nnames: {0: dog}\n"
    (root / "data.yaml").write_text(text + more)
    return root / "data.yaml"


def labelme_point(label: str, x: float, y: float, **more: Any) -> dict[str, Any]:
    return {"label": label, "points": [[x, y]], "shape_type": "point"} | more


def write_labelme(folder: Path, name: str, *shapes: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    document = {
        "version": "5.5.0",
        "shapes": list(shapes),
        "imagePath": f"..\\photos\\{name}.png",
        "imageData": None,
        "imageHeight": SIZE_HW[0],
        "imageWidth": SIZE_HW[1],
    }
    write_json(folder / f"{name}.json", document)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>hand</name><type>skeleton</type><svg>{svg}</svg></label>
<label><name>wrist</name><type>points</type><parent>hand</parent></label>
<label><name>left tip</name><type>points</type><parent>hand</parent></label>
<label><name>right tip</name><type>points</type><parent>hand</parent></label>
<label><name>box</name><type>rectangle</type></label>
</labels></task></meta>
<image id="0" name="s/a.png" width="80" height="60">
<box label="box" xtl="5" ytl="6" xbr="45" ybr="56" group_id="2"></box>
<skeleton label="hand" group_id="2">
<points label="left tip" outside="0" occluded="1" points="20.5,30.25"></points>
<points label="wrist" outside="0" occluded="0" points="10,15"></points>
<points label="right tip" outside="1" occluded="0" points="1,1"></points>
</skeleton></image>
<image id="1" name="s/b.png" width="80" height="60"></image>
</annotations>"""
CVAT_PICTURE = (
    '&lt;line x1="1" y1="2" data-type="edge" data-node-from="1" data-node-to="3"/&gt;'
    '&lt;circle r="1" data-node-id="1" data-label-name="wrist"/&gt;'
    '&lt;circle r="1" data-node-id="2" data-label-name="right tip"/&gt;'
    '&lt;circle r="1" data-node-id="3" data-label-name="left tip"/&gt;'
)


def cvat(picture: str = CVAT_PICTURE) -> str:
    return CVAT.format(svg=picture)


SINGLE_ANIMAL = """scorer,ann,ann,ann,ann
bodyparts,nose,nose,tail,tail
coords,x,y,x,y
labeled-data\\v1\\img1.png,10.5,20,30,40.25
labeled-data\\v1\\img2.png,11,21,,
labeled-data\\v2\\img1.png,,,,
"""
SEVERAL_ANIMALS = """scorer,,,ann,ann,ann,ann,ann,ann
individuals,,,m1,m1,m2,m2,single,single
bodyparts,,,nose,nose,nose,nose,lamp,lamp
coords,,,x,y,x,y,x,y
labeled-data,v1,img1.png,10,20,50,40,1,1
labeled-data,v1,img2.png,,,51,41,1,1
"""
