"""Writes annotations of another format as COCO files, and says what became of them."""

import logging
from pathlib import Path
from typing import Any

from cpn.coco.records import describe_dropped
from cpn.config.convert_schema import ConvertDataConfig
from cpn.convert.document import Documents, to_documents
from cpn.convert.formats import read_labels
from cpn.convert.labels import Category, Labels, Wishes
from cpn.errors import UserError
from cpn.files.atomic import write_json
from cpn.skeleton import COCO_17, sided_pairs

logger = logging.getLogger(__name__)


def convert_data(config: ConvertDataConfig) -> None:
    """Reads `source`, writes `out` and `val_out`, and logs what was read and what was inferred.

    Raises:
        FileNotFoundError: there is no such source.
        UserError: it is broken, or has no people; nothing is written.
    """
    source = Path(config.source)
    if not source.exists():
        raise FileNotFoundError(f"no such file or folder: {source}")
    _require_different_files(config)
    labels = read_labels(config.format, source, _wishes(config))
    try:
        documents = to_documents(
            labels,
            images=None if config.images is None else Path(config.images),
            box_margin=config.box_margin,
            val_share=config.val_share,
            hold_out=config.hold_out,
            seed=config.seed,
        )
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    written = {config.out: documents.train}
    if config.val_out is not None and documents.val is not None:
        written[config.val_out] = documents.val
    for path in written:  # a folder that cannot be made is no reason to have written half
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    for path, document in written.items():
        write_json(Path(path), document)
    _tell(config, labels, documents, written)


def _require_different_files(config: ConvertDataConfig) -> None:
    """Refuses to write over what is read, or one file over the other."""
    taken = {Path(config.source).resolve(): "source"}
    for key, path in (("out", config.out), ("val_out", config.val_out)):
        if path is None:
            continue
        other = taken.setdefault(Path(path).resolve(), key)
        if other != key:
            raise UserError(f"{key}={path} is the same file as {other}; write to another one")


def _wishes(config: ConvertDataConfig) -> Wishes:
    names = COCO_17.keypoint_names if config.keypoints == "coco" else config.keypoints
    return Wishes(
        images=None if config.images is None else Path(config.images),
        subset=config.subset,
        keypoints=None if names is None else tuple(names),
        parts=None if config.parts is None else tuple(config.parts),
        head_boxes=None if config.head_boxes is None else Path(config.head_boxes),
    )


def _tell(
    config: ConvertDataConfig,
    labels: Labels,
    documents: Documents,
    written: dict[str, dict[str, Any]],
) -> None:
    for path, document in written.items():
        logger.info(
            "%s: %d people in %d photos",
            *(path, len(document["annotations"]), len(document["images"])),
        )
    logger.info("left out: %s", describe_dropped(documents.dropped))
    reached = documents.share_held_out
    if not 0.5 * config.val_share <= reached <= 1.5 * config.val_share:
        logger.warning(
            "val_share=%g, but %.3g of the photos with people are held out: a %s is not split",
            *(config.val_share, reached, config.hold_out),
        )
    category = labels.category
    logger.info("%d keypoints: %s", len(category.keypoints), ", ".join(category.keypoints))
    for line in (*_inferred(category, documents, config.box_margin), *labels.notes):
        logger.info("- %s", line)
    train, val = config.out, config.val_out or config.out
    logger.info(
        "now look through them: python scripts/check_data.py data=custom data.train.annotations=%s"
        " data.val.annotations=%s data.train.images=%s data.val.images=%s%s",
        *(train, val, *(config.images or "FOLDER",) * 2),
        "" if _has_sigmas(category) else " data.sigmas=default",
    )


def _has_sigmas(category: Category) -> bool:
    return category.sigmas is not None or category.keypoints == COCO_17.keypoint_names


def _inferred(category: Category, documents: Documents, margin: float) -> list[str]:
    """What the files say that the source did not."""
    pairs = category.flip_pairs
    shown = sided_pairs(category.keypoints)[0] if pairs is None else pairs
    told = "left and right in the names" if pairs is None else "the format"
    sigmas = "published ones, in the file" if category.sigmas else "nobody published any"
    if category.keypoints == COCO_17.keypoint_names:
        sigmas = "COCO's, known by the 17 names"
    lines = [f"{len(shown)} flip pairs by {told}: {', '.join(f'{a}/{b}' for a, b in shown)}"]
    lines.append(f"OKS sigmas: {sigmas}")
    if not category.limbs:
        lines.append("no limbs: pictures will show points without lines")
    if documents.boxes_made:
        lines.append(
            f"{documents.boxes_made} boxes were made from keypoints, {margin:g} of the longer side"
            " larger all round (box_margin); boxes of a detector will differ from them"
        )
    return lines
