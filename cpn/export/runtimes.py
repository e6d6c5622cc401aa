"""An exported graph at work, whichever runtime computes it."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch

from cpn.errors import UserError
from cpn.export.graph import Outputs

INPUTS = ("crops", "boxes_xyxy")
EXTRA = "'cpn-pose[export]'"
# Loggers of converters; onnxruntime's takes the root's.
CONVERTERS = ("onnxscript", "onnx_ir", "torch.export", "root")


class RuntimePoses(NamedTuple):
    """What a graph gives, see `PoseGraph.forward`."""

    keypoints: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    rescoring_scores: npt.NDArray[np.float32]


OUTPUTS = RuntimePoses._fields


class Runtime(Protocol):
    """Crops (N, H, W, 3) uint8 and boxes (N, 4) float32 -> poses; see `PoseGraph`."""

    def __call__(
        self, crops: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
    ) -> RuntimePoses:
        """Any number of people, 1 or more."""
        ...


@contextmanager
def needed(package: str) -> Iterator[None]:
    """Around the import of a library that only some formats need.

    Args:
        package: what pip installs.

    Raises:
        UserError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise UserError(f"this format needs more: pip install {package} ({error})") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Converters tell of each step, and warn of what is deprecated within themselves."""
    loggers = {name: logging.getLogger(name) for name in CONVERTERS}
    levels = {name: logger.level for name, logger in loggers.items()}
    try:
        for logger in loggers.values():
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, logger in loggers.items():
            logger.setLevel(levels[name])


class TorchRuntime:
    """A graph in PyTorch: the reference, or what was traced of it."""

    def __init__(self, graph: Callable[..., Outputs]) -> None:
        self._graph = graph

    def __call__(
        self, crops: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
    ) -> RuntimePoses:
        """See `Runtime`."""
        with torch.no_grad():
            found = self._graph(torch.from_numpy(crops), torch.from_numpy(boxes_xyxy))
        return RuntimePoses(*(each.numpy() for each in found))


class OnnxRuntime:
    """An ONNX file on the CPU.

    Raises:
        UserError: onnxruntime is not installed.
    """

    def __init__(self, path: Path) -> None:
        with needed(EXTRA):
            import onnxruntime  # noqa: PLC0415
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # Threads that wait by turning around take the cores from whoever computes meanwhile.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def __call__(
        self, crops: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
    ) -> RuntimePoses:
        """See `Runtime`."""
        given = dict(zip(INPUTS, (crops, boxes_xyxy), strict=True))
        return RuntimePoses(*self._session.run(list(OUTPUTS), given))


class OpenVinoRuntime:
    """An OpenVINO model on the CPU, in its file's precision.

    Raises:
        UserError: openvino is not installed.
    """

    def __init__(self, path: Path) -> None:
        with needed("openvino"):
            import openvino  # noqa: PLC0415
        core = openvino.Core()
        self._model = core.compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def __call__(
        self, crops: npt.NDArray[np.uint8], boxes_xyxy: npt.NDArray[np.float32]
    ) -> RuntimePoses:
        """See `Runtime`."""
        found = self._model(dict(zip(INPUTS, (crops, boxes_xyxy), strict=True)))
        return RuntimePoses(*(np.array(found[name]) for name in OUTPUTS))
