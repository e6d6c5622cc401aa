"""Size and cost of a network."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from cpn.models.cpn import CascadedPyramidNetwork


@dataclass(frozen=True)
class PartStatistics:
    """One part's parameters and its billions of multiply-adds for one image."""

    parameters: int
    gflops: float


@dataclass(frozen=True)
class ModelStatistics:
    """A network's size and cost for one image.

    Attributes:
        parameters: learnable and frozen weights, without buffers.
        gflops: billions of multiply-adds of convolutions and products, which papers (also CPN's
            tables) call FLOPs; a count of additions and multiplications apart would be twice it.
            Of the network as published, so that it compares with papers.
        computed_gflops: what is really computed, see `CascadedPyramidNetwork.set_order`.
        parts: the same for backbone, pyramid, global_net and refine_net, where there is one.
    """

    parameters: int
    gflops: float
    computed_gflops: float
    parts: dict[str, PartStatistics]

    def summary(self) -> str:
        """One line for people."""
        parts = ", ".join(f"{name} {part.gflops:.3f}" for name, part in self.parts.items())
        return (
            f"{self.parameters / 1e6:.2f} M parameters, {self.gflops:.3f} GFLOPs ({parts}), "
            f"computed with {self.computed_gflops:.3f}"
        )


def model_statistics(model: CascadedPyramidNetwork, input_hw: tuple[int, int]) -> ModelStatistics:
    """Counts parameters and multiply-adds for one image of height x width, without computing.

    Args:
        model: is not changed; a copy without data is run on shapes alone.
        input_hw: input size in pixels.
    """
    shapes = copy.deepcopy(model).to("meta").eval()
    shapes.set_order("coarse_first")
    computed = _multiply_adds(shapes, input_hw)[""]
    shapes.set_order("published")
    published = _multiply_adds(shapes, input_hw)
    parts = {
        name: PartStatistics(_parameters(part), published[name])
        for name, part in model.named_children()
    }
    return ModelStatistics(_parameters(model), published[""], computed, parts)


def _multiply_adds(model: CascadedPyramidNetwork, input_hw: tuple[int, int]) -> dict[str, float]:
    """Billions, by part; the whole network's is under ""."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.zeros(1, 3, *input_hw, device="meta"))
    counts = counter.get_flop_counts()
    by_part = {
        name: sum(counts[f"{type(model).__name__}.{name}"].values()) / 2e9
        for name, _ in model.named_children()
    }
    return by_part | {"": counter.get_total_flops() / 2e9}


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
