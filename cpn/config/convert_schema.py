"""The configuration of `scripts/convert_data.py`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from cpn.config.network_schema import Count, Strict

Name = Annotated[str, Field(min_length=1)]
FormatName = Literal[
    "mpii",
    "lsp",
    "crowdpose",
    "coco_wholebody",
    "halpe",
    "ap10k",
    "yolo_pose",
    "labelme",
    "cvat",
    "deeplabcut",
]


class ConvertDataConfig(Strict):
    """`scripts/convert_data.py`: annotations of another format as COCO keypoint JSON."""

    format: FormatName
    source: str = Field(min_length=1, description="the file, or labelme's folder")
    images: str | None = Field(
        min_length=1, description="folder of the photos; null: the source knows their sizes"
    )
    out: str = Field(min_length=1, description="the COCO keypoint JSON to write")
    val_out: str | None = Field(min_length=1, description="a second one, of photos held out")
    val_share: float = Field(ge=0, lt=1, description="of the photos with people, for val_out")
    hold_out: Literal["photo", "folder"] = Field(
        description="whole folders or videos: frames of one look alike"
    )
    seed: Count = Field(description="of the choice of photos for val_out")
    subset: str | None = Field(
        min_length=1, description="train, val or test, where a source has them"
    )
    keypoints: Annotated[list[Name], Field(min_length=1)] | Literal["coco"] | None = Field(
        description="names and order, where the source has none; coco: COCO's 17"
    )
    parts: (
        Annotated[
            list[Literal["body", "feet", "face", "left_hand", "right_hand"]], Field(min_length=1)
        ]
        | None
    ) = Field(description="of coco_wholebody; null: all five")
    head_boxes: str | None = Field(
        min_length=1, description="gt_valid.mat, of MPII's valid.json, for PCKh"
    )
    box_margin: float = Field(
        ge=0, le=1, description="of boxes made from keypoints, in longer sides, all round"
    )

    @model_validator(mode="after")
    def _second_file(self) -> Self:
        if (self.val_out is None) != (self.val_share == 0):
            raise ValueError("val_out and val_share go together: set both, or neither")
        return self
