"""scripts/convert_data.py end to end: a source goes in, what training reads comes out."""

import json
from pathlib import Path
from typing import Any

import pytest

from cpn.config.convert_schema import ConvertDataConfig, FormatName
from cpn.convert.formats import FORMATS
from cpn.convert.known import MPII, halpe, wholebody
from cpn.data.annotations import read_person_annotations
from cpn.data.standards import Standards
from cpn.errors import UserError
from cpn.evaluation import evaluate_keypoints, read_ground_truth
from cpn.evaluation.coco_keypoints import category_skeleton
from cpn.tasks.convert_data import convert_data
from tests.convert import sources
from tests.convert.sources import coco_like, labelme_point, write_json, write_photo

LAX = Standards(needs_photos=False)
DEFAULTS: dict[str, Any] = {
    "images": None,
    "val_out": None,
    "val_share": 0,
    "hold_out": "photo",
    "seed": 0,
    "subset": None,
    "keypoints": None,
    "parts": None,
    "head_boxes": None,
    "box_margin": 0.1,
}


def _config(tmp_path: Path, name: str, source: Path, **more: Any) -> ConvertDataConfig:
    values = {"format": name, "source": str(source), "out": str(tmp_path / "out.json")}
    return ConvertDataConfig.model_validate(DEFAULTS | values | more)


def _text(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _photos(tmp_path: Path, *names: str) -> dict[str, str]:
    for name in names:
        write_photo(tmp_path / "photos" / name)
    return {"images": str(tmp_path / "photos")}


def _coco_like(count: int) -> Any:
    return lambda tmp_path: (write_json(tmp_path / "source", coco_like(count)), {})


def _mpii(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    sources.write_mpii(tmp_path / "m.mat")
    return tmp_path / "m.mat", _photos(tmp_path, "a.png", "b.png")


def _lsp(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    sources.write_lsp(tmp_path / "j.mat")
    return tmp_path / "j.mat", _photos(tmp_path, *(f"im000{n}.jpg" for n in (1, 2, 3, 4)))


def _yolo_pose(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    line = "0 .5 .5 .25 .5 .1 .2 2 .5 .5 1 0 0 0"
    return sources.write_yolo(tmp_path, line), {"keypoints": ["nose", "tail", "paw"]}


def _labelme(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    points = labelme_point("a", 10, 10), labelme_point("b", 30, 40)
    sources.write_labelme(tmp_path / "l", "a", *points)
    return tmp_path / "l", {}


def _deeplabcut(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    names = ("v1/img1.png", "v1/img2.png", "v2/img1.png")
    folder = _photos(tmp_path, *(f"labeled-data/{one}" for one in names))
    return _text(tmp_path / "source", sources.SINGLE_ANIMAL), folder


# Each writes a source and gives the keys that its conversion needs.
SOURCES: dict[str, Any] = {
    "mpii": _mpii,
    "lsp": _lsp,
    "crowdpose": _coco_like(14),
    "coco_wholebody": _coco_like(17),
    "halpe": _coco_like(26),
    "ap10k": _coco_like(17),
    "yolo_pose": _yolo_pose,
    "labelme": _labelme,
    "cvat": lambda tmp_path: (_text(tmp_path / "source", sources.cvat()), {}),
    "deeplabcut": _deeplabcut,
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_comes_out_is_read_as_training_and_evaluation_do(tmp_path: Path, name: str) -> None:
    source, keys = SOURCES[name](tmp_path)
    convert_data(_config(tmp_path, name, source, **keys))
    labels = FORMATS[name].read(source, _wishes(tmp_path, keys))
    out = tmp_path / "out.json"
    people = read_person_annotations(
        out, tmp_path, sigmas="default", flip_pairs=None, standards=LAX
    )
    assert people.skeleton.keypoint_names == labels.category.keypoints
    expected = [person.keypoints for person in labels.people if (person.keypoints[:, 2] > 0).any()]
    expected = expected[: len(people.instances)]
    for converted, original in zip(people.instances.keypoints, expected, strict=True):
        assert converted[converted[:, 2] > 0] == pytest.approx(original[original[:, 2] > 0])
    truth = read_ground_truth(out)
    skeleton = category_skeleton(truth, people.skeleton.sigmas)
    perfect = [
        {"image_id": p.image_id, "category_id": 1, "keypoints": p.keypoints, "score": 1.0}
        for p in truth.persons
    ]
    assert evaluate_keypoints(truth, perfect, sigmas=skeleton.sigmas)["AP"] == pytest.approx(1)


def _wishes(tmp_path: Path, keys: dict[str, Any]) -> Any:
    from cpn.convert.labels import Wishes  # noqa: PLC0415

    names = tuple(keys["keypoints"]) if "keypoints" in keys else None
    return Wishes(keypoints=names)


def test_the_schema_knows_every_format() -> None:
    assert set(FORMATS) == set(FormatName.__args__)  # type: ignore[attr-defined]


@pytest.mark.parametrize("category", [wholebody(("body", "face")), halpe(136), MPII])
def test_the_categorys_own_pairs_and_sigmas_are_taken(tmp_path: Path, category: Any) -> None:
    from cpn.convert.document import _coco_category  # noqa: PLC0415

    count = len(category.keypoints)
    document = coco_like(count) | {"categories": [_coco_category(category) | {"id": 9}]}
    source = write_json(tmp_path / "a.json", document)
    if category.sigmas is None:
        with pytest.raises(UserError, match="OKS sigmas are unknown"):
            read_person_annotations(source, tmp_path, sigmas=None, flip_pairs=None, standards=LAX)
        return
    skeleton = read_person_annotations(
        source, tmp_path, sigmas=None, flip_pairs=None, standards=LAX
    ).skeleton
    assert skeleton.sigmas == category.sigmas
    permutation = skeleton.flip_permutation
    names = skeleton.keypoint_names
    assert names[permutation[names.index("face-0")]] == "face-16"
    assert names[permutation[names.index("left_eye")]] == "right_eye"


def test_a_second_file_holds_the_validation_photos(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sources.write_lsp(tmp_path / "j.mat")
    photos = _photos(tmp_path, *(f"im000{n}.jpg" for n in (1, 2, 3, 4)))
    val = tmp_path / "val.json"
    with caplog.at_level("INFO"):
        convert_data(
            _config(tmp_path, "lsp", tmp_path / "j.mat", val_out=str(val), val_share=0.25, **photos)
        )
    assert len(json.loads(val.read_text())["images"]) == 1
    assert len(json.loads((tmp_path / "out.json").read_text())["images"]) == 3
    told = caplog.text
    assert "6 flip pairs by left and right in the names: left_hip/right_hip" in told
    assert "OKS sigmas: nobody published any" in told
    assert "4 boxes were made from keypoints" in told
    assert "data.sigmas=default" in told


def test_nothing_is_written_where_the_source_is_broken(tmp_path: Path) -> None:
    document = coco_like(14)
    document["annotations"][0]["keypoints"] = None
    document["annotations"][0]["bbox"] = [0, 0, 0, 0]
    source = write_json(tmp_path / "c.json", document)
    with pytest.raises(UserError, match=r"c\.json: nobody is left.*a box without area"):
        convert_data(_config(tmp_path, "crowdpose", source))
    assert not (tmp_path / "out.json").exists()
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        convert_data(_config(tmp_path, "crowdpose", tmp_path / "no.json"))


@pytest.mark.parametrize(
    ("name", "wish", "message"),
    [
        ("crowdpose", {"subset": "train"}, "subset is not for format=crowdpose; it takes none"),
        ("lsp", {"keypoints": "coco"}, "keypoints is not for format=lsp; it takes subset"),
        ("cvat", {"parts": ["body"]}, "parts is not for format=cvat; it takes keypoints"),
    ],
)
def test_a_key_that_would_do_nothing_is_refused(
    tmp_path: Path, name: str, wish: dict[str, Any], message: str
) -> None:
    source, keys = SOURCES[name](tmp_path)
    with pytest.raises(UserError, match=message):
        convert_data(_config(tmp_path, name, source, **keys | wish))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"val_out": "v.json"}, "val_out and val_share go together"),
        ({"val_share": 0.1}, "val_out and val_share go together"),
    ],
)
def test_the_keys_must_fit(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _config(tmp_path, "lsp", tmp_path, **values)


@pytest.mark.parametrize(
    ("out", "more", "message"),
    [
        ("c.json", {}, "out=.* is the same file as source"),
        ("x/../c.json", {}, "out=.* is the same file as source"),
        ("o.json", {"val_out": "./o.json", "val_share": 0.5}, "val_out=.* same file as out"),
    ],
)
def test_nothing_is_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, more: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = write_json(tmp_path / "c.json", coco_like(14))
    before = source.read_bytes()
    with pytest.raises(UserError, match=message):
        convert_data(_config(tmp_path, "crowdpose", source, out=out, **more))
    assert [file.name for file in tmp_path.iterdir()] == ["c.json"]
    assert source.read_bytes() == before


def test_a_share_that_is_not_reached_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [f"labeled-data/v{v}/{k}.png,1,2,9,9" for v in range(2) for k in range(4)]
    header = "scorer,a,a,a,a\nbodyparts,n,n,t,t\ncoords,x,y,x,y\n"
    source = _text(tmp_path / "d.csv", header + "\n".join(lines) + "\n")
    photos = _photos(tmp_path, *(line.partition(",")[0] for line in lines))
    val = {"val_out": str(tmp_path / "v.json"), "val_share": 0.1, "hold_out": "folder"}
    convert_data(_config(tmp_path, "deeplabcut", source, **photos, **val))
    assert "val_share=0.1, but 0.5 of the photos with people are held out" in caplog.text
