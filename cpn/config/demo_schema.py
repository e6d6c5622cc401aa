"""The configuration of `scripts/demo.py`; see `cpn.config.schema`."""

from pydantic import Field

from cpn.config.network_schema import DeviceName, PositiveInt, PrecisionName, Probability, Strict


class DemoConfig(Strict):
    """`scripts/demo.py`: a page on this machine to try a model with one's own photos."""

    checkpoint: str = Field(description="model.safetensors of a run")
    detector: str | None = Field(
        description="model file of a person detector; null: the whole photo is one person"
    )
    detector_threshold: Probability | None = Field(
        description="show people at least this sure; null: as the detector's file says"
    )
    max_people: PositiveInt = Field(description="most people of a photo, the surest ones")
    keypoint_threshold: Probability = Field(
        description="draw keypoints at least this sure; the page has a slider for it"
    )
    port: int = Field(ge=0, le=65535, description="on 127.0.0.1; 0: any that is free")
    max_upload_mib: float = Field(gt=0, le=1000, description="most MiB of an uploaded file")
    max_megapixels: float = Field(gt=0, le=1000, description="most millions of pixels of a photo")
    precision: PrecisionName = Field(description="auto: half precision on a GPU, else fp32")
    device: DeviceName
