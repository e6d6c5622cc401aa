"""The one place that talks to pycocotools: silenced, and never with data that it misreads."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def coco_statistics(
    document: dict[str, Any],
    results: list[dict[str, Any]],
    *,
    kind: Literal["keypoints", "bbox"],
    sigmas: Sequence[float] | None = None,
) -> NDArray[np.float64]:
    """The numbers of COCOeval.summarize for all images and categories of a document.

    A number without ground truth (pycocotools' -1) is NaN. Without results the others are 0,
    where pycocotools raises an IndexError.

    Args:
        document: COCO ground truth with positive annotation ids; pycocotools adds fields to it.
        results: finite COCO results of images in the document; fields are added.
        kind: "keypoints" gives 10 numbers, "bbox" 12.
        sigmas: K OKS constants, for keypoints.
    """
    # numpy warns of overflow for points at 1e300: their similarity is 0, which is right
    with contextlib.redirect_stdout(io.StringIO()), np.errstate(over="ignore", invalid="ignore"):
        truth = _indexed(document)
        detections = truth.loadRes(results) if results else _indexed(document | {"annotations": []})
        evaluation = COCOeval(truth, detections, kind)
        if sigmas is not None:
            evaluation.params.kpt_oks_sigmas = np.asarray(sigmas, dtype=np.float64)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    statistics = np.asarray(evaluation.stats, dtype=np.float64)
    return np.where(statistics < 0, np.nan, statistics)


def _indexed(document: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = document
    coco.createIndex()
    return coco
