"""Writes a graph in each format, and gives it back as the format's runtime reads it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from cpn.errors import UserError
from cpn.export.graph import PoseGraph
from cpn.export.runtimes import (
    EXTRA,
    INPUTS,
    OUTPUTS,
    OnnxRuntime,
    OpenVinoRuntime,
    Runtime,
    TorchRuntime,
    needed,
    quiet,
)

Format = Literal["onnx", "torchscript", "torch_export", "openvino", "tensorrt"]
SUFFIXES: Mapping[Format, str] = {
    "onnx": ".onnx",
    "torchscript": ".pt",
    "torch_export": ".pt2",
    "openvino": ".xml",
    "tensorrt": ".engine",
}
MOST_PEOPLE = 4096
Example = tuple[Tensor, Tensor]


def write_format(
    name: Format, graph: PoseGraph, example: Example, path: Path, metadata: Mapping[str, str]
) -> Runtime | None:
    """Writes a file; any number of people may be asked of it, up to `MOST_PEOPLE`.

    Args:
        name: of the format.
        graph: on the CPU.
        example: two people or more, as `PoseGraph.forward` takes them.
        path: where to; an existing file is replaced.
        metadata: goes into the file where the format has a place for it.

    Returns:
        The file at work; None of tensorrt, which this machine may not be able to run.

    Raises:
        UserError: a library that the format needs is not installed, or cannot take the graph.
    """
    if name == "torchscript":
        return _torchscript(graph, example, path, metadata)
    program = traced(graph, example)
    if name == "torch_export":
        torch.export.save(program, path, extra_files=dict(metadata))
        return TorchRuntime(program.module())
    if name == "onnx":
        write_onnx(program, path, metadata)
        return OnnxRuntime(path)
    onnx_file = path.with_suffix(".onnx")
    write_onnx(program, onnx_file, metadata)
    try:
        if name == "openvino":
            _openvino(onnx_file, path, metadata)
            return OpenVinoRuntime(path)
        _tensorrt(onnx_file, path, graph.input_hw)
    finally:
        onnx_file.unlink()
    return None


def traced(graph: PoseGraph, example: Example) -> ExportedProgram:
    """The graph for any number of people."""
    people = Dim("people", min=1, max=MOST_PEOPLE)
    with torch.no_grad():
        graph(*example)  # makes the decoder's tables, which are constants of the graph
        with quiet():
            return torch.export.export(
                graph, example, dynamic_shapes=({0: people}, {0: people}), strict=False
            )


def write_onnx(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """An ONNX file with its weights in it.

    Raises:
        UserError: onnx or onnxscript is not installed.
    """
    with needed(EXTRA):
        import onnx  # noqa: F401, PLC0415 - torch's exporter imports it in its midst
    with quiet():
        converted = torch.onnx.export(
            program,
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            verbose=False,
        )
    assert converted is not None
    converted.model.metadata_props.update(metadata)
    converted.save(path, external_data=False)


def _torchscript(
    graph: PoseGraph, example: Example, path: Path, metadata: Mapping[str, str]
) -> Runtime:
    with torch.no_grad(), quiet():
        graph(*example)
        trace: Any = torch.jit.trace
        script = trace(graph, example, check_trace=False)
        torch.jit.save(script, str(path), _extra_files=dict(metadata))
    return TorchRuntime(script)


def _openvino(onnx_file: Path, path: Path, metadata: Mapping[str, str]) -> None:
    """`path` and, beside it, the weights."""
    with needed("openvino"):
        import openvino  # noqa: PLC0415
    model = openvino.convert_model(str(onnx_file))
    for key, value in metadata.items():
        model.set_rt_info(value, ["cpn", key])
    openvino.save_model(model, str(path), compress_to_fp16=False)


def _tensorrt(onnx_file: Path, path: Path, input_hw: tuple[int, int]) -> None:
    """An engine for this machine's GPU: it runs on no other kind."""
    with needed("tensorrt"):
        import tensorrt  # noqa: PLC0415
    log = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(log)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(onnx_file.read_bytes()):
        raise UserError(f"TensorRT cannot take the graph: {parser.get_error(0)}")
    settings, profile = builder.create_builder_config(), builder.create_optimization_profile()
    for name, shape in ((INPUTS[0], (*input_hw, 3)), (INPUTS[1], (4,))):
        profile.set_shape(name, *((count, *shape) for count in (1, 8, 64)))
    settings.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise UserError("TensorRT built no engine; its log above says why")
    path.write_bytes(bytes(engine))
