"""The one place that talks to COCO evaluators: silenced, and never with data they misread.

pycocotools is the reference. hotcoco is the same in Rust: its numbers are equal to the last bit
(tests/evaluation/test_engines.py), 30 times as fast.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import hotcoco
import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cpn.evaluation.matching import Matches

Engine = Literal["pycocotools", "hotcoco"]


class CocoEvaluation:
    """Results against ground truth, for all images and categories of a document.

    Args:
        document: COCO ground truth with positive annotation ids; pycocotools adds fields to it.
        results: finite COCO results of images in the document; fields are added.
        kind: "keypoints" gives 10 numbers, "bbox" 12.
        sigmas: K OKS constants, for keypoints.
        engine: who computes.
    """

    def __init__(
        self,
        document: dict[str, Any],
        results: list[dict[str, Any]],
        *,
        kind: Literal["keypoints", "bbox"],
        sigmas: Sequence[float] | None = None,
        engine: Engine = "pycocotools",
    ) -> None:
        # numpy warns of overflow for points at 1e300: their similarity is 0, which is right
        with _quiet():
            evaluation = _started(document, results, kind, engine)
            if sigmas is not None:
                constants = np.asarray(sigmas, dtype=np.float64)
                evaluation.params.kpt_oks_sigmas = (
                    constants if engine == "pycocotools" else constants.tolist()
                )
            evaluation.evaluate()
        self._evaluation = evaluation

    def statistics(self) -> NDArray[np.float64]:
        """The numbers of COCOeval.summarize.

        A number without ground truth (pycocotools' -1) is NaN. Without results the others are 0,
        where pycocotools raises an IndexError.
        """
        with _quiet():
            self._evaluation.accumulate()
            self._evaluation.summarize()
        statistics = np.asarray(self._evaluation.stats, dtype=np.float64)
        return np.where(statistics < 0, np.nan, statistics)

    def recall(self, threshold: float) -> float:
        """Share of the people that are found, of any size and with all results that count.

        To be called after `statistics` of pycocotools. NaN without ground truth.

        Args:
            threshold: a similarity of COCO's ten, 0.50 ... 0.95.
        """
        recalls = self._evaluation.eval["recall"]  # threshold, category, area, number of results
        position = int(np.argmin(np.abs(self._evaluation.params.iouThrs - threshold)))
        value = float(recalls[position, 0, 0, -1])
        return float("nan") if value < 0 else value

    def matches(self) -> Matches:
        """Which result found which person; for a document with one category."""
        params = self._evaluation.params
        return Matches.from_images(
            self._evaluation.evalImgs,
            image_ids=list(params.imgIds),
            areas=[list(area) for area in params.areaRng],
            thresholds=list(params.iouThrs),
        )


def _started(
    document: dict[str, Any], results: list[dict[str, Any]], kind: str, engine: Engine
) -> Any:  # noqa: ANN401 - either engine's COCOeval
    if engine == "hotcoco":
        truth = hotcoco.COCO(document)
        empty = document | {"annotations": []}
        detections = truth.load_res(results) if results else hotcoco.COCO(empty)
        return hotcoco.COCOeval(truth, detections, kind)
    known = _indexed(document)
    found = known.loadRes(results) if results else _indexed(document | {"annotations": []})
    return COCOeval(known, found, kind)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    silence = contextlib.redirect_stdout(io.StringIO())
    with silence, np.errstate(over="ignore", invalid="ignore"), warnings.catch_warnings():
        # It warns of sigmas that are not COCO's. That is what they are given for.
        warnings.filterwarnings("ignore", message="hotcoco:")
        yield


def _indexed(document: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = document
    coco.createIndex()
    return coco
