"""Targets, flip test and decoding, against loops over persons and keypoints in numpy."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt
import torch

from cpn.benchmark.report import Report
from cpn.benchmark.timing import time_interleaved
from cpn.config.schema import BenchmarkConfig
from cpn.heatmaps.decode import decode_flip_test
from cpn.heatmaps.encode import gaussian_heatmaps
from cpn.heatmaps.flip import unflip_heatmaps
from cpn.skeleton import COCO_17

FloatArray = npt.NDArray[np.float32]

BATCH = 128
BLUR = 11
SIGMAS = (1.5, 1.5, 2.0, 2.5, 3.0)  # RefineNet and four levels
STRIDE = 4


def benchmark_heatmaps(config: BenchmarkConfig) -> Report:
    """Times a batch of 128 persons on the CPU."""
    size_hw = (config.input.height // STRIDE, config.input.width // STRIDE)
    settings = {"batch": BATCH, "keypoints": COCO_17.num_keypoints, "heatmap_hw": size_hw}
    report = Report("heatmaps", {**settings, "rounds": config.rounds})
    points = _random_points(size_hw)
    for what, cases in {
        "flip test and DARK": decoding_cases(*_noisy_heatmaps(points, size_hw)),
        "targets of 5 maps": encoding_cases(points, size_hw),
    }.items():
        timings = time_interleaved(cases, rounds=config.rounds)
        for name in cases:
            report.add(f"{what}, {name}", "ms/person", timings.cost(name), scale=1e3)
        faster = timings.ratio("loops", "batched")
        report.add(f"{what}, batched", "times as fast as loops", faster)
        if what.startswith("flip"):
            report.require(f"{what}: times as fast as loops", faster.median, "at least", 10.0)
    return report


def decoding_cases(plain: torch.Tensor, mirrored: torch.Tensor) -> Mapping[str, Callable[[], int]]:
    """(N, K, h, w) heatmaps of images and of their mirror images -> points, in two ways."""
    plain_array, mirrored_array = plain.numpy(), mirrored.numpy()

    def loops() -> int:
        return len(decode_by_loops(plain_array, mirrored_array))

    def batched() -> int:
        order = COCO_17.flip_permutation
        decoded = decode_flip_test(
            plain, mirrored, order, shift=False, method="dark", blur_kernel=BLUR
        )
        return len(decoded.points)

    return {"loops": loops, "batched": batched}


def encoding_cases(
    points: torch.Tensor, size_hw: tuple[int, int]
) -> Mapping[str, Callable[[], int]]:
    """(N, K, 2) points in cells -> Gaussian targets of every level, in two ways."""
    drawn = torch.ones(points.shape[:2], dtype=torch.bool)
    points_array = points.numpy()

    def loops() -> int:
        for sigma in SIGMAS:
            encode_by_loops(points_array, size_hw, sigma)
        return len(points_array)

    def batched() -> int:
        for sigma in SIGMAS:
            gaussian_heatmaps(points, drawn, size_hw=size_hw, stride=1, sigma=sigma)
        return len(points)

    return {"loops": loops, "batched": batched}


def encode_by_loops(
    points: npt.NDArray[np.float32], size_hw: tuple[int, int], sigma: float
) -> FloatArray:
    """Keypoint by keypoint, as most projects draw their targets."""
    rows, columns = np.mgrid[: size_hw[0], : size_hw[1]]
    targets = np.zeros((*points.shape[:2], *size_hw), np.float32)
    for maps, person in zip(targets, points, strict=True):
        for heatmap, (x, y) in zip(maps, person, strict=True):
            heatmap[...] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * sigma**2))
    return targets


def decode_by_loops(plain: FloatArray, mirrored: FloatArray) -> FloatArray:
    """(N, K, 2) points as published: Zhang et al., CVPR 2020, section 3.1, keypoint by keypoint.

    The maps are turned back as a whole; then each is blurred in a frame of zeros, scaled to its
    former peak, and its highest cell is moved by the Taylor expansion of its log.
    """
    merged = (plain + mirrored[:, list(COCO_17.flip_permutation), :, ::-1]) / 2
    highest = merged.reshape(*merged.shape[:2], -1).argmax(-1)
    for maps in merged:
        for heatmap in maps:
            _blur(heatmap)
    log_maps = np.log(np.maximum(merged, 1e-10))
    points = np.stack([highest % merged.shape[-1], highest // merged.shape[-1]], -1)
    moved = points.astype(np.float32)
    for person, maps in enumerate(log_maps):
        for keypoint, log_map in enumerate(maps):
            moved[person, keypoint] += _taylor(log_map, *points[person, keypoint].tolist())
    return moved


def _blur(heatmap: FloatArray) -> None:
    height, width = heatmap.shape
    peak, border = heatmap.max(), BLUR // 2
    framed = np.zeros((height + 2 * border, width + 2 * border))
    framed[border:-border, border:-border] = heatmap
    framed = cv2.GaussianBlur(framed, (BLUR, BLUR), 0)
    heatmap[...] = framed[border:-border, border:-border]
    heatmap *= peak / heatmap.max()


def _taylor(log_map: FloatArray, x: int, y: int) -> npt.NDArray[np.float64]:
    height, width = log_map.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return np.zeros(2)
    slope_x = 0.5 * (log_map[y, x + 1] - log_map[y, x - 1])
    slope_y = 0.5 * (log_map[y + 1, x] - log_map[y - 1, x])
    curve_x = 0.25 * (log_map[y, x + 2] - 2 * log_map[y, x] + log_map[y, x - 2])
    curve_y = 0.25 * (log_map[y + 2, x] - 2 * log_map[y, x] + log_map[y - 2, x])
    mixed = 0.25 * (
        log_map[y + 1, x + 1]
        - log_map[y - 1, x + 1]
        - log_map[y + 1, x - 1]
        + log_map[y - 1, x - 1]
    )
    hessian = np.array([[curve_x, mixed], [mixed, curve_y]], dtype=np.float64)
    if np.linalg.det(hessian) == 0:
        return np.zeros(2)
    return np.asarray(-np.linalg.inv(hessian) @ np.array([slope_x, slope_y]))


def _random_points(size_hw: tuple[int, int]) -> torch.Tensor:
    """(BATCH, K, 2) in cells, away from the border."""
    generator = torch.Generator().manual_seed(0)
    room = torch.tensor([size_hw[1] - 8.0, size_hw[0] - 8.0])
    points = torch.rand(BATCH, COCO_17.num_keypoints, 2, generator=generator)
    return 4 + points * room


def _noisy_heatmaps(
    points: torch.Tensor, size_hw: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a network could give for images and for their mirror images."""
    drawn = torch.ones(points.shape[:2], dtype=torch.bool)
    clean = gaussian_heatmaps(points, drawn, size_hw=size_hw, stride=1, sigma=2.0)
    generator = torch.Generator().manual_seed(1)
    noise = 0.01 * torch.rand(clean.shape, generator=generator)
    return clean + noise, unflip_heatmaps(clean, COCO_17.flip_permutation)
