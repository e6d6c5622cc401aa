"""The formats that can be converted, and what may be asked of each."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from cpn.convert.coco_like import read_ap10k, read_crowdpose, read_halpe, read_wholebody
from cpn.convert.cvat import read_cvat
from cpn.convert.deeplabcut import read_deeplabcut
from cpn.convert.labelme import read_labelme
from cpn.convert.labels import Labels, Wishes
from cpn.convert.lsp import read_lsp
from cpn.convert.mpii import read_mpii
from cpn.convert.yolo import read_yolo_pose
from cpn.errors import UserError


class _Format(NamedTuple):
    """One format.

    Attributes:
        read: its reader.
        wishes: those that it grants, beside the folder of photos.
    """

    read: Callable[[Path, Wishes], Labels]
    wishes: tuple[str, ...] = ()


FORMATS = {
    "mpii": _Format(read_mpii, ("subset", "head_boxes")),
    "lsp": _Format(read_lsp, ("subset",)),
    "crowdpose": _Format(read_crowdpose),
    "coco_wholebody": _Format(read_wholebody, ("parts",)),
    "halpe": _Format(read_halpe),
    "ap10k": _Format(read_ap10k),
    "yolo_pose": _Format(read_yolo_pose, ("subset", "keypoints")),
    "labelme": _Format(read_labelme, ("keypoints",)),
    "cvat": _Format(read_cvat, ("keypoints",)),
    "deeplabcut": _Format(read_deeplabcut, ("keypoints",)),
}


def read_labels(name: str, source: Path, wishes: Wishes) -> Labels:
    """What a source of a format holds.

    Args:
        name: one of `FORMATS`.
        source: a file or folder.
        wishes: what the format does not grant must be None.

    Raises:
        FileNotFoundError: there is no such source.
        UserError: it is broken, or a wish is not for this format.
    """
    granted = FORMATS[name].wishes
    for key, value in wishes._asdict().items():
        if value is not None and key not in {*granted, "images"}:
            known = f"it takes {', '.join(granted)}" if granted else "it takes none of these keys"
            raise UserError(f"{key} is not for format={name}; {known}")
    return FORMATS[name].read(source, wishes)
