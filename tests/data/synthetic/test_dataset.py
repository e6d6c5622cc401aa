import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from cpn.data.synthetic import SyntheticSettings, generate_dataset, render_image
from cpn.data.synthetic.dataset import annotate
from cpn.data.synthetic.scene import SeenPerson
from cpn.errors import UserError
from cpn.skeleton import COCO_17

SIZE = (96, 128)
NUM_IMAGES = 8


def generate(out: Path, **changes: Any) -> Any:
    options = {"split": "train", "num_images": NUM_IMAGES, "seed": 5, "image_size_hw": SIZE}
    return generate_dataset(out, **{**options, **changes})


def contents(root: Path) -> dict[str, bytes]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    generate(folder)
    return folder


@pytest.fixture(scope="module")
def document(root: Path) -> dict[str, Any]:
    text = (root / "annotations" / "person_keypoints_train.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def test_the_same_seed_gives_the_same_bytes_with_any_workers(root: Path, tmp_path: Path) -> None:
    generate(tmp_path, workers=2)
    assert contents(tmp_path) == contents(root)


def test_a_longer_set_begins_with_the_shorter_one(root: Path, tmp_path: Path) -> None:
    generate(tmp_path, num_images=3)
    short, long = contents(tmp_path), contents(root)
    images = [name for name in short if name.endswith(".jpg")]
    assert len(images) == 3
    assert all(short[name] == long[name] for name in images)


def test_seed_split_and_index_each_change_the_picture() -> None:
    settings = SyntheticSettings("train", 5, SIZE)
    first = render_image(settings, 0).picture
    np.testing.assert_array_equal(render_image(settings, 0).picture, first)
    others = [
        render_image(settings, 1),
        render_image(SyntheticSettings("val", 5, SIZE), 0),
        render_image(SyntheticSettings("train", 6, SIZE), 0),
    ]
    assert all(not np.array_equal(other.picture, first) for other in others)


def test_the_files_are_where_coco_has_them(root: Path, document: dict[str, Any]) -> None:
    names = [image["file_name"] for image in document["images"]]
    assert names[0] == "000000000001.jpg"
    written = sorted(path.name for path in (root / "images" / "train").iterdir())
    assert written == names  # no partial files are left
    for image in document["images"]:
        picture = cv2.imread(str(root / "images" / "train" / image["file_name"]))
        assert picture is not None
        assert picture.shape == (image["height"], image["width"], 3) == (*SIZE, 3)


def test_the_files_show_the_pictures_in_their_colours(root: Path) -> None:
    picture = render_image(SyntheticSettings("train", 5, SIZE), 0).picture.astype(int)
    written = cv2.imread(str(root / "images" / "train" / "000000000001.jpg"))
    assert written is not None
    as_rgb, as_bgr = written[..., ::-1], written
    assert np.abs(as_rgb - picture).mean() < 0.5 * np.abs(as_bgr - picture).mean()


def test_the_version_is_that_of_the_pictures(document: dict[str, Any]) -> None:
    assert document["info"]["version"] == 2


def test_the_category_is_cocos(document: dict[str, Any]) -> None:
    (category,) = document["categories"]
    assert category["name"] == "person"
    assert tuple(category["keypoints"]) == COCO_17.keypoint_names
    assert np.min(category["skeleton"]) == 1
    assert np.max(category["skeleton"]) == 17


def test_every_annotation_is_valid(document: dict[str, Any]) -> None:
    annotations = document["annotations"]
    assert [annotation["id"] for annotation in annotations] == list(range(1, len(annotations) + 1))
    assert {image["id"] for image in document["images"]} == set(range(1, NUM_IMAGES + 1))
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        assert min(x, y) >= 0
        assert x + width <= SIZE[1]
        assert y + height <= SIZE[0]
        assert 0 < annotation["area"] <= width * height
        assert 1 <= annotation["image_id"] <= NUM_IMAGES
        assert annotation["iscrowd"] == 0
        points = np.array(annotation["keypoints"]).reshape(17, 3)
        assert annotation["num_keypoints"] == np.count_nonzero(points[:, 2])
        assert set(points[:, 2]) <= {0, 1, 2}
        assert not points[points[:, 2] == 0].any()
        assert np.all((points[:, :2] >= 0) & (points[:, :2] <= (SIZE[1] - 1, SIZE[0] - 1)))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.usefixtures("capsys")
def test_pycocotools_reads_the_set(root: Path) -> None:
    coco = COCO(str(root / "annotations" / "person_keypoints_train.json"))
    assert len(coco.getImgIds()) == NUM_IMAGES
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        assert mask.shape == SIZE
        x, y, width, height = (int(value) for value in annotation["bbox"])
        inside = mask[y : y + height, x : x + width]
        assert inside.sum() == mask.sum() >= 0.98 * annotation["area"]


def test_the_summary_counts(tmp_path: Path) -> None:
    summary = generate(tmp_path, num_images=4)
    annotations = json.loads(summary.annotations.read_text())["annotations"]
    assert summary.images == tmp_path / "images" / "train"
    assert (summary.num_images, summary.num_people) == (4, len(annotations))
    assert summary.num_with_keypoints == sum(a["num_keypoints"] > 0 for a in annotations)
    assert summary.images_per_second > 0


def test_an_interrupted_run_leaves_no_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = generate(tmp_path, num_images=1)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cpn.data.synthetic.dataset.render_image", stop)
    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path, num_images=1, seed=6)
    assert not summary.annotations.exists()


def seen_person(mask: np.ndarray, visible: int, hidden: int) -> SeenPerson:
    points = np.zeros((17, 3))
    points[:visible] = (12.345, 8, 2)
    points[visible : visible + hidden] = (3, 4, 1)
    return SeenPerson(points, mask)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
def test_annotate_by_hand() -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:20, 30:45] = True
    annotation = annotate(seen_person(mask, 4, 1))
    assert annotation is not None
    assert annotation["bbox"] == [30, 10, 15, 10]  # edges: columns 30 to 44 cover [30, 45)
    assert annotation["area"] == 150
    assert annotation["num_keypoints"] == 5
    assert annotation["keypoints"][:3] == [12.35, 8.0, 2]
    assert annotation["keypoints"][12:15] == [3.0, 4.0, 1]
    (polygon,) = annotation["segmentation"]
    np.testing.assert_array_equal(
        coco_mask.decode(coco_mask.frPyObjects([polygon], *SIZE))[..., 0], mask
    )
    assert (min(polygon[::2]), max(polygon[::2])) == (30.25, 44.75)  # the edges are 30 and 45
    assert (min(polygon[1::2]), max(polygon[1::2])) == (10.25, 19.75)


def test_who_is_hardly_visible_is_left_out_or_has_no_keypoints() -> None:
    mask = np.zeros(SIZE, bool)
    assert annotate(seen_person(mask, 0, 17)) is None
    mask[:8, :9] = True  # 72 pixels
    assert annotate(seen_person(mask, 5, 0)) is None
    mask[:10, :9] = True
    annotation = annotate(seen_person(mask, 3, 14))
    assert annotation is not None
    assert annotation["num_keypoints"] == 0
    assert annotation["keypoints"] == [0] * 51


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_images": 0}, "num_images must be 1 or more, got 0"),
        ({"workers": -1}, "workers must be 0 or more, got -1"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"split": "../x"}, r"split must be a plain file name such as 'train', got '\.\./x'"),
        ({"split": ""}, "split must be a plain file name"),
        ({"image_size_hw": (16, 200)}, r"image_size_hw must be at least \(32, 32\)"),
        ({"max_people": 0}, "max_people must be 1 or more, got 0"),
        ({"jpeg_quality": 101}, r"jpeg_quality must be within 10\.\.100, got 101"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        generate(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(
        UserError, match=r"cannot write .*out: a file is in the way; give another `out`"
    ):
        generate(tmp_path / "out")
