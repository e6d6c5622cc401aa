"""An ONNX file with 8-bit convolutions, whose ranges are read off the user's own people."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cpn.export.runtimes import EXTRA, INPUTS, needed, quiet

# At a time; more of them take more memory while their ranges are read.
CALIBRATION_BATCH = 8


def quantize_onnx(
    source: Path,
    path: Path,
    crops: npt.NDArray[np.uint8],
    boxes_xyxy: npt.NDArray[np.float32],
) -> None:
    """Static quantisation of the convolutions, weights by channel; decoding stays in fp32.

    Args:
        source: an fp32 file of `write_onnx`.
        path: where to.
        crops: (P, H, W, 3) to calibrate on.
        boxes_xyxy: (P, 4) theirs.

    Raises:
        UserError: onnxruntime is not installed.
    """
    with needed(EXTRA):
        from onnxruntime import quantization  # noqa: PLC0415
    prepared = path.with_name(f"{path.name}.prepared.onnx")
    batches = _batches(crops, boxes_xyxy)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            return next(batches, None)

    try:
        with quiet():
            quantization.quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantization.quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
            )
    finally:
        prepared.unlink(missing_ok=True)


def _batches(
    crops: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    for start in range(0, len(crops), CALIBRATION_BATCH):
        chosen = slice(start, start + CALIBRATION_BATCH)
        yield dict(zip(INPUTS, (crops[chosen], boxes_xyxy[chosen]), strict=True))
