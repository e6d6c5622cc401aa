"""Every format's reader on a source written by hand: what comes out, to the pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from cpn.convert.coco_like import read_ap10k, read_crowdpose, read_halpe, read_wholebody
from cpn.convert.cvat import read_cvat
from cpn.convert.deeplabcut import read_deeplabcut
from cpn.convert.known import WHOLEBODY_PARTS
from cpn.convert.labelme import read_labelme
from cpn.convert.labels import Photo, Wishes
from cpn.convert.lsp import read_lsp
from cpn.convert.mpii import read_mpii
from cpn.convert.yolo import read_yolo_pose
from cpn.errors import UserError
from tests.convert import sources
from tests.convert.sources import SIZE_HW, coco_like, labelme_point, write_json

NOTHING = Wishes()


def test_mpii_counts_from_0_and_keeps_head_and_place(tmp_path: Path) -> None:
    sources.write_mpii(tmp_path / "m.mat")
    labels = read_mpii(tmp_path / "m.mat", NOTHING)
    assert labels.photos == [Photo("a.png", video="video 3"), Photo("b.png")]
    (person,) = labels.people
    marked = {k: row.tolist() for k, row in enumerate(person.keypoints) if row[2]}
    assert marked == {0: [10, 20, 2], 5: [30, 40, 1], 9: [20, 5, 2]}  # no is_visible: visible
    assert person.box_xywh == pytest.approx((10, 10, 40, 40))  # 200 x 0.2 around (30, 30)
    assert person.head_box_xywh == pytest.approx((15, 0, 3, 4))
    assert labels.dropped == {"no keypoints": 1}
    test = read_mpii(tmp_path / "m.mat", Wishes(subset="test"))
    assert [photo.file_name for photo in test.photos] == ["t.png"]
    (nobody_labelled,) = test.people
    assert not nobody_labelled.keypoints.any()
    assert nobody_labelled.box_xywh == pytest.approx((10, 10, 40, 40))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"id": 16}, r"annolist\(1\).annorect is not as MPII has it: a point has id 16"),
        ({"x": "here"}, r"annolist\(1\).annorect is not as MPII has it: could not convert"),
    ],
)
def test_a_broken_point_of_mpii_is_told_with_its_photo(
    tmp_path: Path, broken: dict[str, Any], message: str
) -> None:
    point = {"x": 1.0, "y": 1.0, "id": 0} | broken
    person = sources.structs({"annopoints": sources.structs({"point": sources.structs(point)})})
    photo = sources.structs({"image": sources.structs({"name": "a.png"}), "annorect": person})
    release = sources.structs({"annolist": photo, "img_train": np.array([[1]])})
    scipy.io.savemat(tmp_path / "m.mat", {"RELEASE": release})
    with pytest.raises(UserError, match=message):
        read_mpii(tmp_path / "m.mat", NOTHING)


def test_a_crash_of_the_matlab_reader_is_one_line(tmp_path: Path) -> None:
    """Scipy's reader, written in C, ends its process on some damaged files."""
    damaged = Path(__file__).parents[1] / "fuzz/corpus/foreign/crash_of_scipy"
    (tmp_path / "x.mat").write_bytes(damaged.read_bytes()[1:])
    with pytest.raises(UserError, match=r"no MATLAB file|MPII"):
        read_mpii(tmp_path / "x.mat", NOTHING)


def test_mpii_of_json_takes_its_heads_from_gt_valid(tmp_path: Path) -> None:
    joints = [[1 + k, 2 + k] for k in range(16)]
    record = {
        "image": "a.png",
        "joints": joints,
        "joints_vis": [1] * 15 + [0],
        "center": [21, 31],
        "scale": 0.1,
    }
    source = write_json(tmp_path / "valid.json", [record, record | {"image": "b.png"}])
    corners = np.array([[[5, 1], [6, 1]], [[8, 4], [10, 4]]], dtype=float)  # corner, axis, person
    scipy.io.savemat(tmp_path / "gt.mat", {"headboxes_src": corners})
    labels = read_mpii(source, Wishes(head_boxes=tmp_path / "gt.mat"))
    first, second = labels.people
    assert first.keypoints[:2].tolist() == [[0, 1, 2], [1, 2, 2]]
    assert first.keypoints[15].tolist() == [0, 0, 0]
    assert first.box_xywh == pytest.approx((10, 20, 20, 20))
    assert first.head_box_xywh == pytest.approx((4, 5, 3, 4))
    assert second.head_box_xywh == pytest.approx((0, 0, 3, 3))
    assert [labels.photos[person.photo].file_name for person in labels.people] == [
        "a.png",
        "b.png",
    ]


def test_lsp_marks_hidden_joints_and_splits_in_halves(tmp_path: Path) -> None:
    sources.write_lsp(tmp_path / "joints.mat")
    labels = read_lsp(tmp_path / "joints.mat", NOTHING)
    assert [photo.file_name for photo in labels.photos] == [f"im000{n}.jpg" for n in (1, 2, 3, 4)]
    keypoints = labels.people[1].keypoints
    assert keypoints[3].tolist() == [12, 20, 1]
    assert keypoints[4].tolist() == [13, 20, 2]
    assert (keypoints[:, 2] > 0).all()
    test = read_lsp(tmp_path / "joints.mat", Wishes(subset="test"))
    assert [photo.file_name for photo in test.photos] == ["im0003.jpg", "im0004.jpg"]
    assert test.people[0].keypoints[0].tolist() == [9, 21, 2]


def test_lsp_extended_labels_only_what_it_marks(tmp_path: Path) -> None:
    sources.write_lsp(tmp_path / "joints.mat", extended=True)
    labels = read_lsp(tmp_path / "joints.mat", NOTHING)
    assert labels.photos[0].file_name == "im00001.jpg"
    assert labels.dropped == {"no keypoints": 1}
    assert len(labels.people) == 3
    assert labels.people[0].keypoints[3].tolist() == [12, 19, 2]
    assert (labels.people[0].keypoints[:, 2] > 0).nonzero()[0].tolist() == [3, 4, 5]
    assert not labels.people[0].keypoints[0].any()


def test_crowdpose_keeps_ids_and_crowd_index(tmp_path: Path) -> None:
    document = coco_like(14)
    document["images"][0]["crowdIndex"] = 0.25
    labels = read_crowdpose(write_json(tmp_path / "c.json", document), NOTHING)
    assert labels.photos == [Photo("a.png", (60, 80), 7, 0.25)]
    (person,) = labels.people
    assert (person.id, person.box_xywh, person.area) == (3, (10, 10, 20, 30), None)
    assert person.keypoints[1].tolist() == [1, 2, 2]
    assert labels.category.keypoints[12:] == ("top_head", "neck")


def test_ap10k_merges_the_species(tmp_path: Path) -> None:
    document = coco_like(17, area=123.5)
    labels = read_ap10k(write_json(tmp_path / "a.json", document), NOTHING)
    assert labels.category.name == "animal"
    assert labels.people[0].area == 123.5


@pytest.mark.parametrize("count", [26, 136])
def test_halpe_is_told_by_its_number_of_keypoints(tmp_path: Path, count: int) -> None:
    labels = read_halpe(write_json(tmp_path / "h.json", coco_like(count)), NOTHING)
    assert len(labels.category.keypoints) == count == len(labels.category.sigmas or ())
    assert labels.category.keypoints[20:22] == ("left_big_toe", "right_big_toe")


def test_wholebody_joins_its_parts_in_order(tmp_path: Path) -> None:
    face = [value for k in range(68) for value in (k, k + 1, 0.4)]
    document = coco_like(17, foot_kpts=[1, 2, 2] * 6, face_kpts=face, lefthand_kpts=[0] * 63)
    source = write_json(tmp_path / "w.json", document)
    labels = read_wholebody(source, NOTHING)
    (person,) = labels.people
    assert person.keypoints.shape == (133, 3)
    assert person.keypoints[17].tolist() == [1, 2, 2]
    assert person.keypoints[23].tolist() == [0, 1, 1]  # a fraction of v is labelled
    assert not person.keypoints[91:].any()  # a hand of zeros, and one that is not there
    some = read_wholebody(source, Wishes(parts=("body", "left_hand")))
    assert some.category.keypoints[17] == "left_hand_root"
    assert some.people[0].keypoints.shape == (38, 3)
    # The other hand is not among them: a pair of one hand's would have no partner.
    assert all("hand" not in name for pair in some.category.flip_pairs or () for name in pair)


def test_wholebody_is_the_published_133() -> None:
    category = read_category(tuple(WHOLEBODY_PARTS))
    assert len(set(category.keypoints)) == 133 == len(category.sigmas or ())
    assert len(category.flip_pairs or ()) == 8 + 3 + 29 + 21
    # 68 landmarks of 300-W: the jaw from the right ear 0 to the left 16, chin 8 alone.
    pairs = dict(category.flip_pairs or ())
    assert (pairs["face-16"], pairs["face-45"], pairs["face-54"]) == (
        "face-0",
        "face-36",
        "face-48",
    )
    assert not {"face-8", "face-27", "face-33", "face-51", "face-57", "face-62", "face-66"} & {
        name for pair in pairs.items() for name in pair
    }


def read_category(parts: tuple[str, ...]) -> Any:
    from cpn.convert.known import wholebody  # noqa: PLC0415

    return wholebody(parts)


def test_yolo_scales_by_the_photo_and_takes_flip_idx(tmp_path: Path) -> None:
    line = "0 0.5 0.5 0.25 0.5 0.1 0.2 2 0.5 0.5 1 0 0 0"
    more = "flip_idx: [0, 2, 1]\nkpt_names: {0: [nose, right_ear, left_ear]}\n"
    source = sources.write_yolo(tmp_path, line, "", more=more)
    labels = read_yolo_pose(source, NOTHING)
    assert [photo.file_name for photo in labels.photos] == [
        "images/train/a.png",
        "images/train/b.png",
    ]
    assert labels.photos[0].size_hw == SIZE_HW
    (person,) = labels.people
    assert person.box_xywh == pytest.approx((30, 15, 20, 30))
    assert person.keypoints == pytest.approx(np.array([[8, 12, 2], [40, 30, 1], [0, 0, 0]]))
    assert labels.category.flip_pairs == (("left_ear", "right_ear"),)
    assert labels.category.name == "dog"
    assert labels.dropped == {"photo without a text file: nobody in it": 1}


def test_yolo_takes_lists_of_photos_and_several_folders(tmp_path: Path) -> None:
    source = sources.write_yolo(tmp_path, "0 .5 .5 .2 .2 .1 .1 2 .1 .1 2 .1 .1 2")
    text = source.read_text()
    (tmp_path / "train.txt").write_text("./images/train/b.png\n\nimages/train/a.png\n")
    source.write_text(text.replace("train: images/train", "train: train.txt"))
    wishes = Wishes(keypoints=("a", "b", "c"))
    listed = read_yolo_pose(source, wishes)
    assert [photo.file_name for photo in listed.photos] == [
        "images/train/b.png",
        "images/train/a.png",
    ]
    assert [person.photo for person in listed.people] == [1]
    sources.write_photo(tmp_path / "images/more/c.png")
    source.write_text(text.replace("train: images/train", "train: [images/more, images/train]"))
    assert [Path(photo.file_name).name for photo in read_yolo_pose(source, wishes).photos] == [
        *("c.png", "a.png", "b.png"),
    ]
    source.write_text(text.replace("train: images/train", "train: 3"))
    with pytest.raises(UserError, match="'train' is 3, it must name folders of photos"):
        read_yolo_pose(source, wishes)


def test_yolo_without_v_takes_zeros_for_unlabelled(tmp_path: Path) -> None:
    source = sources.write_yolo(tmp_path, "0 .5 .5 .2 .2 .1 .2 0 0 .3 .4")
    source.write_text(source.read_text().replace("[3, 3]", "[3, 2]"))
    wishes = Wishes(keypoints=("a", "b", "c"), images=tmp_path / "images")
    labels = read_yolo_pose(source, wishes)
    assert labels.photos[0].file_name == "train/a.png"
    assert labels.people[0].keypoints[:, 2].tolist() == [2, 0, 2]
    assert labels.category.flip_pairs is None


def test_labelme_groups_points_into_people(tmp_path: Path) -> None:
    folder = tmp_path / "l"
    sources.write_labelme(
        folder,
        "a",
        labelme_point("head", 10, 20, group_id=1),
        labelme_point("foot", 30, 40, group_id=1, flags={"occluded": True}),
        labelme_point("foot", 50, 51, group_id=2),
        {"label": "p", "points": [[40, 50], [5, 6]], "shape_type": "rectangle", "group_id": 1},
        {"label": "grass", "points": [[0, 0], [1, 1], [0, 1]], "shape_type": "polygon"},
    )
    labels = read_labelme(folder, NOTHING)
    assert labels.category.keypoints == ("head", "foot")
    assert labels.photos == [Photo("a.png", SIZE_HW)]  # "..\\photos\\a.png" of Windows
    (below,) = read_labelme(folder, Wishes(images=tmp_path)).photos
    assert below.file_name == "photos/a.png"
    (elsewhere,) = read_labelme(folder, Wishes(images=tmp_path / "other")).photos
    assert elsewhere.file_name == "a.png"
    first, second = labels.people
    assert first.keypoints.tolist() == [[10, 20, 2], [30, 40, 1]]
    assert first.box_xywh == pytest.approx((5, 6, 35, 44))
    assert second.keypoints.tolist() == [[0, 0, 0], [50, 51, 2]]
    assert second.box_xywh is None
    assert labels.dropped == {"polygon: neither point nor rectangle": 1}
    assert read_labelme(folder, Wishes(keypoints=("foot", "head"))).people[0].keypoints[
        0
    ].tolist() == [30, 40, 1]


def test_cvat_reads_skeleton_box_and_limbs(tmp_path: Path) -> None:
    source = tmp_path / "annotations.xml"
    source.write_text(sources.cvat())
    labels = read_cvat(source, NOTHING)
    assert labels.category.keypoints == ("wrist", "left tip", "right tip")
    assert labels.category.limbs == (("wrist", "left tip"),)  # by the nodes' names, not their order
    assert [photo.file_name for photo in labels.photos] == ["s/a.png", "s/b.png"]
    (person,) = labels.people
    assert person.keypoints.tolist() == [[10, 15, 2], [20.5, 30.25, 1], [0, 0, 0]]
    assert person.box_xywh == pytest.approx((5, 6, 40, 50))


def test_cvat_numbers_nodes_without_names(tmp_path: Path) -> None:
    source = tmp_path / "annotations.xml"
    source.write_text(sources.cvat('&lt;line data-node-from="2" data-node-to="3"/&gt;'))
    assert read_cvat(source, NOTHING).category.limbs == (("left tip", "right tip"),)


def test_deeplabcut_of_one_animal(tmp_path: Path) -> None:
    source = tmp_path / "CollectedData_ann.csv"
    source.write_text(sources.SINGLE_ANIMAL)
    labels = read_deeplabcut(source, NOTHING)
    assert [photo.file_name for photo in labels.photos] == [
        "labeled-data/v1/img1.png",
        "labeled-data/v1/img2.png",
        "labeled-data/v2/img1.png",
    ]
    assert [person.keypoints.tolist() for person in labels.people] == [
        [[10.5, 20, 2], [30, 40.25, 2]],
        [[11, 21, 2], [0, 0, 0]],
    ]
    assert labels.dropped == {"no keypoints": 1}


def test_deeplabcut_of_several_animals_leaves_what_belongs_to_none(tmp_path: Path) -> None:
    source = tmp_path / "CollectedData_ann.csv"
    source.write_text(sources.SEVERAL_ANIMALS)
    labels = read_deeplabcut(source, NOTHING)
    assert labels.category.keypoints == ("nose",)
    assert [(p.photo, p.keypoints.tolist()) for p in labels.people] == [
        (0, [[10, 20, 2]]),
        (0, [[50, 40, 2]]),
        (1, [[51, 41, 2]]),
    ]
    assert labels.photos[0].file_name == "labeled-data/v1/img1.png"
    assert labels.notes == ["left out, as they belong to no individual: lamp"]


Broken = tuple[Any, str, Wishes, str]


@pytest.mark.parametrize(
    ("reader", "content", "wishes", "message"),
    [
        (read_mpii, "not matlab", NOTHING, r"x\.mat: no MATLAB file"),
        (read_lsp, "", NOTHING, r"x\.mat: no MATLAB file"),
        (read_cvat, "<annotations", NOTHING, "not an XML file to be read"),
        (read_cvat, "<other/>", NOTHING, "does not begin with <annotations>"),
        (read_cvat, "<annotations><track/></annotations>", NOTHING, "CVAT for images 1.1"),
        (read_cvat, "<annotations/>", NOTHING, "skeleton labels: none; exactly one"),
        (
            read_cvat,
            '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
            NOTHING,
            "not an XML file to be read: Entities",
        ),
        (read_cvat, sources.cvat(), Wishes(keypoints=("wrist",)), "names others"),
        (read_cvat, sources.cvat().replace("10,15", "10;15"), NOTHING, "'wrist' has points"),
        (read_cvat, sources.cvat().replace('width="80"', ""), NOTHING, "width=None, no number"),
        (read_deeplabcut, "a,b\n1,2\n", NOTHING, "first lines must begin with scorer"),
        (read_deeplabcut, sources.SINGLE_ANIMAL + "x.png,1\n", NOTHING, "line 7: 2 cells, not 5"),
        (
            read_deeplabcut,
            sources.SINGLE_ANIMAL,
            Wishes(keypoints=("ear",)),
            r"no body parts \['ear'\]; it has \['nose', 'tail'\]",
        ),
        (read_yolo_pose, "kpt_shape: [3]\n", NOTHING, r"kpt_shape is \[3\], it must be"),
        (read_yolo_pose, "kpt_shape: [17, 3]\n", NOTHING, "17 keypoints have no names.*coco"),
        (
            read_yolo_pose,
            "kpt_shape: [2, 3]\nflip_idx: [1, 1]\n",
            Wishes(keypoints=("a", "b")),
            "does not pair 2 keypoints",
        ),
        (
            read_yolo_pose,
            "kpt_shape: [1, 3]\nnames: {0: cat, 1: dog}\n",
            Wishes(keypoints=("a",)),
            "classes cat, dog; one is converted",
        ),
        (
            read_yolo_pose,
            "kpt_shape: [1, 3]\ntrain: nowhere\n",
            Wishes(keypoints=("a",)),
            "no such folder",
        ),
        (read_yolo_pose, "", Wishes(subset="all"), "has the subsets train, val, test"),
        (read_yolo_pose, "[1", NOTHING, "no YAML"),
    ],
)
def test_a_broken_source_is_one_line(
    tmp_path: Path, reader: Any, content: str, wishes: Wishes, message: str
) -> None:
    source = tmp_path / ("x.mat" if reader in (read_mpii, read_lsp) else "x")
    source.write_text(content)
    with pytest.raises(UserError, match=message) as error:
        reader(source, wishes)
    assert "\n" not in str(error.value)


def test_what_does_not_fit_is_refused_with_its_place(tmp_path: Path) -> None:
    short = write_json(tmp_path / "c.json", coco_like(13))
    with pytest.raises(UserError, match="annotation 3: 'keypoints' has 39 numbers, 14 keypoints"):
        read_crowdpose(short, NOTHING)
    with pytest.raises(UserError, match="have 13 keypoints; Halpe's are 26 or 136"):
        read_halpe(short, NOTHING)
    orphan = coco_like(14)
    orphan["annotations"][0]["image_id"] = 8
    with pytest.raises(UserError, match="annotation 3 is of image 8, which 'images' lacks"):
        read_crowdpose(write_json(tmp_path / "o.json", orphan), NOTHING)
    scipy.io.savemat(tmp_path / "j.mat", {"joints": np.zeros((3, 15, 4))})
    with pytest.raises(UserError, match=r"'joints' is \(3, 15, 4\)"):
        read_lsp(tmp_path / "j.mat", NOTHING)
    sources.write_lsp(tmp_path / "e.mat", extended=True)
    with pytest.raises(UserError, match="LSP extended is for training alone"):
        read_lsp(tmp_path / "e.mat", Wishes(subset="train"))
    scipy.io.savemat(tmp_path / "n.mat", {"other": 1})
    with pytest.raises(UserError, match="no variable 'joints'; there are: other"):
        read_lsp(tmp_path / "n.mat", NOTHING)


def test_yolo_lines_are_told_by_number(tmp_path: Path) -> None:
    names = Wishes(keypoints=("a", "b", "c"))
    source = sources.write_yolo(tmp_path, "0 .5 .5 .2 .2 .1 .1 2 .1 .1 2 .1 .1 3")
    with pytest.raises(UserError, match=r"a\.txt, line 1: v must be 0, 1 or 2"):
        read_yolo_pose(source, names)
    (tmp_path / "labels/train/a.txt").write_text("\n0 .5 .5 .2\n")
    with pytest.raises(UserError, match=r"line 2: 4 numbers, 3 keypoints of 3 need 14"):
        read_yolo_pose(source, names)
    (tmp_path / "images/train/a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.png: not a readable image"):
        read_yolo_pose(source, names)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([labelme_point("a", 1, 1), labelme_point("a", 2, 2)], "'a' stands there twice"),
        ([labelme_point("a", 1, 1) | {"points": [[1, 1], [2, 2]]}], "has 2 points, it must have 1"),
        (
            [labelme_point("a", 1, 1)]
            + [{"label": "p", "points": [[0, 0], [1, 1]], "shape_type": "rectangle"}] * 2,
            "2 rectangles around one person",
        ),
        ([{"label": "p", "points": [[0, 0]], "shape_type": "circle"}], "no points in any of 1"),
    ],
)
def test_labelme_refuses_what_is_unclear(
    tmp_path: Path, shapes: list[dict[str, Any]], message: str
) -> None:
    sources.write_labelme(tmp_path / "l", "a", *shapes)
    with pytest.raises(UserError, match=message):
        read_labelme(tmp_path / "l", NOTHING)


def test_labelme_wants_known_labels_and_files(tmp_path: Path) -> None:
    sources.write_labelme(tmp_path / "l", "a", labelme_point("hed", 1, 1))
    with pytest.raises(UserError, match=r"point 'hed' is not among the keypoints \['head'\]"):
        read_labelme(tmp_path / "l", Wishes(keypoints=("head",)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no folder with Labelme's \*\.json"):
        read_labelme(tmp_path / "empty", NOTHING)
