"""What CPN costs on one backbone of each family: parameters, multiply-adds, time of a step.

    python -m tests.family_table [--people 8] [--rounds 3]

Random weights, 256x192, 17 keypoints, forward, backward and AdamW's step in fp32, the networks in
turn over the rounds, medians; a Markdown table. Needs timm.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from cpn.build import build_model
from cpn.command_line.composed import validate
from cpn.config.schema import TrainConfig
from cpn.models.statistics import model_statistics
from cpn.tasks.training.session import optimizer_for

CONFIGS = Path(__file__).parents[1] / "configs"
NETWORKS = (
    *("resnet18", "resnet50", "resnet101"),
    *("torchvision:resnext50_32x4d", "torchvision:wide_resnet50_2", "torchvision:convnext_tiny"),
    *("torchvision:regnet_y_400mf", "torchvision:swin_t", "torchvision:efficientnet_b0"),
    *("torchvision:mobilenet_v3_large", "timm:inception_resnet_v2"),
    *("timm:swin_tiny_patch4_window7_224", "timm:vit_tiny_patch16_224"),
    *("timm:vit_small_patch16_224", "timm:tf_efficientnet_lite0"),
)


def config_of(name: str) -> TrainConfig:
    overrides = ["experiment=r50_256x192", f"backbone.name={name}", "backbone.weights=none"]
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return validate(compose("train", overrides), TrainConfig)


def step_seconds(name: str, people: int) -> float:
    """Of the second step; the first one makes the optimizer's state."""
    config = config_of(name)
    model = build_model(config, num_keypoints=17, weights="none").train()
    optimizer = optimizer_for(model, config.optimizer)
    seconds = 0.0
    for _ in range(2):
        start = time.perf_counter()
        out = model(torch.randn(people, 3, *config.input.size_hw))
        levels = sum(each.square().mean() for each in out.global_heatmaps)
        (out.final.square().mean() + levels).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.perf_counter() - start
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for _ in range(given.rounds):
        for name, seconds in taken.items():
            seconds.append(step_seconds(name, given.people))
    print(f"{torch.get_num_threads()} threads, {given.people} people a step\n")
    print("| backbone | parameters (M) | backbone's | GFLOPs | s per step |\n|---|---|---|---|---|")
    for name, seconds in taken.items():
        config = config_of(name)
        model = build_model(config, num_keypoints=17, weights="none")
        costs = model_statistics(model, config.input.size_hw)
        own = costs.parts["backbone"].parameters
        print(
            f"| `{name}` | {costs.parameters / 1e6:.1f} | {own / 1e6:.1f} |"
            f" {costs.gflops:.2f} | {statistics.median(seconds):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
