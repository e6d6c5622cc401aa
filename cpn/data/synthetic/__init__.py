"""Generated people: articulated figures in cluttered pictures, written as a COCO data set."""

from cpn.data.synthetic.dataset import (
    RenderedImage,
    SyntheticSettings,
    SyntheticSummary,
    generate_dataset,
    render_image,
)

__all__ = [
    "RenderedImage",
    "SyntheticSettings",
    "SyntheticSummary",
    "generate_dataset",
    "render_image",
]
