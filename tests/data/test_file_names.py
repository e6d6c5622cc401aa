"""What a file_name may be, and what it may lead to."""

import os
import re
from pathlib import Path

import pytest

from cpn.data.annotations import read_person_annotations
from cpn.data.image_files import read_annotated_image
from cpn.errors import UserError
from tests.conftest import TinyCoco


def rename(data: TinyCoco, name: str) -> None:
    """The second image is called so, in the annotations."""
    document = data.read()
    document["images"][1]["file_name"] = name
    data.write(document)


NAMES = [
    "with space.png",
    "größe-日本-😀.png",
    "line\nend.png",
    "tab\t'quote\".png",
    "-rf.png",
    "%s{x}.png",
    "n" * 251 + ".png",
    "a/b/c.png",
    "./dot.png",
]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names_are_read(tiny_coco: TinyCoco, name: str) -> None:
    target = tiny_coco.images / name
    target.parent.mkdir(parents=True, exist_ok=True)
    (tiny_coco.images / "002.png").rename(target)
    rename(tiny_coco, name)
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert read_annotated_image(people.instances[1]).shape == (48, 64, 3)


@pytest.mark.parametrize("name", [*NAMES, "n" * 300, "x/" * 200 + "a.png", ".", "a/"])
def test_what_is_missing_is_told_in_one_line(tiny_coco: TinyCoco, name: str) -> None:
    rename(tiny_coco, name)
    with pytest.raises(
        UserError, match=r"image files missing in .* of annotation 2; add"
    ) as caught:
        read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    assert str(caught.value).isprintable()


def test_an_unreadable_photo_of_an_odd_name_is_told_in_one_line(tiny_coco: TinyCoco) -> None:
    rename(tiny_coco, "line\nend.png")
    (tiny_coco.images / "line\nend.png").write_bytes(b"")
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    with pytest.raises(UserError, match=r"images/line\\nend\.png: not a readable image") as caught:
        read_annotated_image(people.instances[1])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a\x00.png", r"images\[1\]\.file_name \(id 2\): .* \(value: 'a\\x00\.png'\); mend or"),
        ("x" * 1025, r"images\[1\]\.file_name \(id 2\): Expected `str` of length <= 1024"),
        (
            "../images/002.png",
            r"outside .*: 1 \(\.\./images/002\.png\), .* annotation 2; copy them",
        ),
        ("a/../../002.png", r"outside .*: 1 \(a/\.\./\.\./002\.png\)"),
        ("/etc/hostname", r"outside .*: 1 \(/etc/hostname\)"),
        ("link.png", r"outside .*, by their file_name or as a link: 1 \(link\.png\), .* 2; copy"),
        ("chain.png", r"outside .*: 1 \(chain\.png\)"),
        ("folder/002.png", r"outside .*: 1 \(folder/002\.png\)"),
        ("deep/down/002.png", r"outside .*: 1 \(deep/down/002\.png\)"),
    ],
)
def test_what_leads_out_of_the_folder_is_refused(
    tiny_coco: TinyCoco, tmp_path: Path, name: str, message: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    os.link(tiny_coco.images / "002.png", outside / "002.png")
    (tiny_coco.images / "link.png").symlink_to(outside / "002.png")
    (tiny_coco.images / "chain.png").symlink_to("link.png")
    (tiny_coco.images / "folder").symlink_to("../outside")
    (tiny_coco.images / "deep").mkdir()
    (tiny_coco.images / "deep" / "down").symlink_to(outside)
    rename(tiny_coco, name)
    with pytest.raises(UserError, match=rf"tiny\.json: .*{message}"):
        read_person_annotations(tiny_coco.annotations, tiny_coco.images)


def test_links_inside_the_folder_and_to_the_folder_are_followed(
    tiny_coco: TinyCoco, tmp_path: Path
) -> None:
    (tiny_coco.images / "other").mkdir()
    (tiny_coco.images / "002.png").rename(tiny_coco.images / "other" / "x.png")
    (tiny_coco.images / "002.png").symlink_to("other/x.png")
    (tmp_path / "linked").symlink_to(tiny_coco.images)
    people = read_person_annotations(tiny_coco.annotations, tmp_path / "linked")
    assert read_annotated_image(people.instances[1]).shape == (48, 64, 3)


def test_a_link_to_nothing_is_told_when_it_is_read(tiny_coco: TinyCoco) -> None:
    (tiny_coco.images / "002.png").unlink()
    (tiny_coco.images / "002.png").symlink_to("gone.png")
    people = read_person_annotations(tiny_coco.annotations, tiny_coco.images)
    with pytest.raises(UserError, match=re.escape("002.png: cannot read the image: No such file")):
        read_annotated_image(people.instances[1])
