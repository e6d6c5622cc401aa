"""The configuration of `scripts/export.py`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import Count, Positive, PositiveInt, Strict


class ExportConfig(Strict):
    """`scripts/export.py`: a pose network as one graph for another runtime, verified."""

    checkpoint: str = Field(min_length=1, description="a pose network's model.safetensors")
    format: Literal["onnx", "torchscript", "torch_export", "openvino", "tensorrt"]
    precision: Literal["fp32", "fp16", "int8"] = Field(
        description="of the network; int8 (onnx only) is calibrated on the annotations' people"
    )
    flip_test: bool | None = Field(description="null: as the model file says; twice the time")
    out: str | None = Field(min_length=1, description="the file; null: beside the checkpoint")
    annotations: str | None = Field(
        min_length=1, description="COCO keypoint JSON of people to verify on; null: generated ones"
    )
    images: str | None = Field(min_length=1, description="folder that file_name is relative to")
    people: PositiveInt = Field(description="how many of them to verify and calibrate on")
    tolerance: Positive = Field(description="pixels that fp32 keypoints may differ from PyTorch's")
    evaluate: bool = Field(description="AP of both on the annotations")
    rounds: Count = Field(description="of timing both; 0: do not")

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        if (self.annotations is None) != (self.images is None):
            raise ValueError("annotations and images go together: set both, or neither")
        for what, asked in (("evaluate=true", self.evaluate), ("int8", self.precision == "int8")):
            if asked and self.annotations is None:
                raise ValueError(f"{what} needs people of yours: set annotations and images")
        if self.precision == "int8" and self.format != "onnx":
            raise ValueError(f"precision=int8 is for format=onnx, not {self.format}")
        if self.precision == "fp16" and self.format == "openvino":
            raise ValueError("precision=fp16 is not for format=openvino: its plugins choose it")
        return self
