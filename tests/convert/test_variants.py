"""What real files of a format have beside what its documentation shows."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cpn.convert.coco_like import read_crowdpose, read_halpe
from cpn.convert.cvat import read_cvat
from cpn.convert.known import AP_10K
from cpn.convert.labelme import read_labelme
from cpn.convert.labels import Category, Wishes
from cpn.convert.mpii import read_mpii
from cpn.convert.yolo import read_yolo_pose
from cpn.errors import UserError
from tests.convert import sources
from tests.convert.sources import coco_like, labelme_point, write_json, write_photo

NAMES = Wishes(keypoints=("a", "b", "c"))
LINE = "0 .5 .5 .2 .2 .1 .1 2 .1 .1 2 .1 .1 2"


def _write_turned(path: Path, orientation: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (80, 60)).save(path, exif=exif)


@pytest.mark.parametrize("orientation", [3, 6])
def test_yolo_photos_that_are_shown_turned_are_refused(tmp_path: Path, orientation: int) -> None:
    source = sources.write_yolo(tmp_path, LINE)
    _write_turned(tmp_path / "images/train/a.png", 1)
    assert len(read_yolo_pose(source, NAMES).people) == 1
    _write_turned(tmp_path / "images/train/a.png", orientation)
    with pytest.raises(UserError, match=r"a\.png: its EXIF orientation .* turn the pixels"):
        read_yolo_pose(source, NAMES)


def test_labelme_photos_that_are_shown_turned_are_refused(tmp_path: Path) -> None:
    sources.write_labelme(tmp_path / "l", "a", labelme_point("head", 1, 1))
    _write_turned(tmp_path / "photos/a.png", 3)
    assert read_labelme(tmp_path / "l", Wishes()).people  # the photo is not known
    with pytest.raises(UserError, match="EXIF orientation"):
        read_labelme(tmp_path / "l", Wishes(images=tmp_path))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["0 .5 .5 .2 .2 .1 .1 2 .1 .1 2 300 .1 2"], "line 1: a labelled keypoint has 300; "),
        (["0 .5 .5 .2 .2 .1 .1 2 .1 .1 2 -1 .1 2"], "a labelled keypoint has -1"),
        (["0 40 30 .2 .2 .1 .1 2 .1 .1 2 .1 .1 2"], "the box has 40; numbers are shares"),
        (["1 .5 .5 .2 .2 .1 .1 2 .1 .1 2 .1 .1 2"], "class 1; data.yaml has one class"),
        (["0 .5 .5 .2 x .1 .1 2 .1 .1 2 .1 .1 2"], "'x' is no number"),
    ],
)
def test_yolo_numbers_that_mean_something_else_are_refused(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_yolo_pose(sources.write_yolo(tmp_path, *lines), NAMES)


def test_yolo_lines_may_be_repeated_marked_and_unlabelled_anywhere(tmp_path: Path) -> None:
    unlabelled = "0 .5 .5 .2 .2 .1 .1 2 .1 .1 2 -1 -1 0"
    source = sources.write_yolo(tmp_path, "\ufeff" + LINE, LINE, unlabelled)
    labels = read_yolo_pose(source, NAMES)
    assert len(labels.people) == 2
    assert labels.dropped["line that stands there twice"] == 1


def test_yolo_folders_are_found_as_exports_write_them(tmp_path: Path) -> None:
    source = sources.write_yolo(tmp_path / "hands", LINE, more="flip_idx: []\n")
    (tmp_path / "hands/images/train/c.tif").touch()
    text = source.read_text()
    for path, train in (
        ("hands", "images/train"),  # from the folder of all data sets
        (".", "../images/train"),  # beside data.yaml
        (".", "[images/train, images]"),  # one in the other
    ):
        changed = text.replace("path: .", f"path: {path}").replace("images/train", train)
        source.write_text(changed)
        labels = read_yolo_pose(source, NAMES)
        assert [photo.file_name for photo in labels.photos] == [
            "images/train/a.png",
            "images/train/b.png",
        ]
        assert labels.dropped["photo that is no JPEG, PNG, WebP or BMP"] == 1
        assert labels.category.flip_pairs is None
    source.write_text(text.replace("train:", "validation:"))
    assert read_yolo_pose(source, NAMES._replace(subset="val")).people


def test_yolo_photos_behind_a_link_keep_their_names(tmp_path: Path) -> None:
    source = sources.write_yolo(tmp_path / "set", LINE)
    (tmp_path / "set/images/train").rename(tmp_path / "elsewhere")
    (tmp_path / "set/images/train").symlink_to(tmp_path / "elsewhere")
    labels = read_yolo_pose(source, NAMES)
    assert labels.photos[0].file_name == "images/train/a.png"
    assert len(labels.people) == 1


def test_halpes_scores_are_labels_from_a_limit_on(tmp_path: Path) -> None:
    document = coco_like(26)
    document["annotations"][0]["keypoints"][2:9:3] = [0.34, 0.35, 1]
    document["annotations"].append(document["annotations"][0] | {"id": 4, "keypoints": 0})
    labels = read_halpe(write_json(tmp_path / "h.json", document), Wishes())
    first, second = labels.people
    assert first.keypoints[:4, 2].tolist() == [0, 2, 1, 2]
    assert not second.keypoints.any()
    assert labels.notes == ["2 keypoints have a score for v: from 0.35 on they are labelled"]


def test_a_score_is_no_visibility_elsewhere(tmp_path: Path) -> None:
    document = coco_like(14)
    document["annotations"][0]["keypoints"][2] = 0.5
    with pytest.raises(UserError, match=r"annotation 3: v is 0\.5; it is 0, 1 or 2"):
        read_crowdpose(write_json(tmp_path / "c.json", document), Wishes())


def test_left_and_right_of_an_animal_have_the_same_sigma() -> None:
    assert AP_10K.sigmas is not None
    sigma = dict(zip(AP_10K.keypoints, AP_10K.sigmas, strict=True))
    assert all(sigma[name] == sigma[name.replace("left", "right")] for name in sigma)
    assert (sigma["left_elbow"], sigma["right_back_paw"]) == (0.072, 0.089)


def test_mpiis_test_people_have_no_joints(tmp_path: Path) -> None:
    record = {"image": "a.png", "center": [31, 31], "scale": 0.2}
    (person,) = read_mpii(write_json(tmp_path / "test.json", [record]), Wishes()).people
    assert not person.keypoints.any()
    assert person.box_xywh == pytest.approx((10, 10, 40, 40))


def _cvat(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    text = sources.cvat()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "annotations.xml").write_text(text)
    return tmp_path / "annotations.xml"


BOX = '<box label="box" xtl="1" ytl="1" xbr="9" ybr="9"></box>'
SKELETON = '<skeleton label="hand" group_id="2"></skeleton>'
OTHER = "<label><name>{}</name><type>skeleton</type></label>"


def test_cvats_shapes_that_are_nobodys_are_counted(tmp_path: Path) -> None:
    points = '<points label="loose" points="1,1"></points>'
    other = BOX.replace("<box", '<box group_id="9"')
    labels = read_cvat(
        _cvat(tmp_path, ("</skeleton></image>", f"</skeleton>{BOX}{other}{points}</image>")),
        Wishes(),
    )
    assert labels.dropped == {
        "box without the group_id of a skeleton": 1,
        "box in a group without a skeleton": 1,
        "points outside a skeleton": 1,
    }


def test_cvats_groups_are_one_person_each(tmp_path: Path) -> None:
    source = _cvat(tmp_path, ("</skeleton></image>", f"</skeleton>{SKELETON}</image>"))
    with pytest.raises(UserError, match=r"s/a\.png': 2 skeletons have group_id 2"):
        read_cvat(source, Wishes())


def test_cvats_labels_that_nobody_used_are_passed_over(tmp_path: Path) -> None:
    two = ("<labels>", f"<labels>{OTHER.format('foot')}")
    assert read_cvat(_cvat(tmp_path, two), Wishes()).category.name == "hand"
    used = ("</skeleton></image>", '</skeleton><skeleton label="foot"></skeleton></image>')
    with pytest.raises(UserError, match="skeleton labels: foot, hand; exactly one"):
        read_cvat(_cvat(tmp_path, two, used), Wishes())


def test_cvats_frames_get_the_ending_of_their_files(tmp_path: Path) -> None:
    source = _cvat(tmp_path, ("s/a.png", "frame_000000"))
    with pytest.raises(UserError, match="the name has no ending, as CVAT names frames"):
        read_cvat(source, Wishes())
    write_photo(tmp_path / "photos/frame_000000.png")
    labels = read_cvat(source, Wishes(images=tmp_path / "photos"))
    assert labels.photos[0].file_name == "frame_000000.png"


def test_labelme_files_lie_in_folders_and_lack_sizes(tmp_path: Path) -> None:
    document: dict[str, Any] = {"imagePath": "1.png", "imageHeight": None, "imageWidth": None}
    document["shapes"] = [labelme_point("head", 1, 2, flags=None)]
    for folder in ("u", "v"):
        (tmp_path / folder).mkdir()
        write_json(tmp_path / folder / "1.json", document)
    labels = read_labelme(tmp_path, Wishes())
    assert [(photo.file_name, photo.size_hw) for photo in labels.photos] == [
        ("u/1.png", None),
        ("v/1.png", None),
    ]


def test_labelme_shapes_beside_groups_are_nobodys(tmp_path: Path) -> None:
    grouped = labelme_point("head", 10, 20, group_id=1)
    sources.write_labelme(tmp_path / "l", "a", grouped, labelme_point("head", 1, 2))
    labels = read_labelme(tmp_path / "l", Wishes())
    assert len(labels.people) == 1
    assert labels.dropped == {"shape without group_id beside grouped ones": 1}


def test_a_keypoints_name_is_its_own() -> None:
    with pytest.raises(UserError, match=r"names that stand there twice: \['head'\]"):
        Category(("head", "foot", "head"))
    assert np.allclose(Category(("head",), sigmas=(0.1,)).sigmas or 0, 0.1)
