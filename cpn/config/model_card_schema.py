"""The configuration of `scripts/model_card.py`."""

from pydantic import Field

from cpn.config.network_schema import Strict


class ModelCardConfig(Strict):
    """`scripts/model_card.py`: what a model file says of itself, in Markdown."""

    checkpoint: str = Field(min_length=1, description="a pose network's model.safetensors")
    evaluation: str | None = Field(
        min_length=1, description="evaluation.json of scripts/evaluate.py; null: without intervals"
    )
    name: str | None = Field(
        min_length=1, max_length=100, description="the card's title; null: the file's name"
    )
    licence: str | None = Field(
        min_length=1, max_length=100, description="of the weights, such as apache-2.0; null: none"
    )
    out: str | None = Field(
        min_length=1, description="the Markdown file; null: beside the checkpoint"
    )
