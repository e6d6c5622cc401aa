"""The flip test: mirrored images in, their heatmaps mirrored back, averaged with the others."""

from collections.abc import Sequence

import torch
from torch import Tensor


def mirror_images(images: Tensor) -> Tensor:
    """Mirrors (..., H, W) images, or heatmaps, left to right."""
    return images.flip(-1)


def unflip_heatmaps(
    heatmaps: Tensor, flip_permutation: Sequence[int], *, shift: bool = False
) -> Tensor:
    """Maps the heatmaps of mirrored images onto those of the images.

    Args:
        heatmaps: (N, K, h, w) predicted from mirrored images.
        flip_permutation: (K,) index of each keypoint's mirror image (itself on the body's axis).
        shift: moves the result one cell to the right. Our frames mirror exactly and need none;
            networks trained where a mirrored map lies one cell off (SimpleBaseline, HRNet) do.

    Returns:
        (N, K, h, w); without a shift, twice gives the input again.

    Raises:
        ValueError: the permutation is not one of K keypoints.
    """
    num_keypoints = heatmaps.shape[1]
    if sorted(flip_permutation) != list(range(num_keypoints)):
        raise ValueError(
            f"flip_permutation must hold each of 0..{num_keypoints - 1} once, "
            f"not {list(flip_permutation)}"
        )
    order = torch.tensor(flip_permutation, device=heatmaps.device)
    mirrored = mirror_images(heatmaps).index_select(1, order)
    if not shift:
        return mirrored
    shifted = mirrored.clone()
    shifted[..., 1:] = mirrored[..., :-1]
    return shifted


def merge_flipped(
    heatmaps: Tensor,
    flipped_heatmaps: Tensor,
    flip_permutation: Sequence[int],
    *,
    shift: bool = False,
) -> Tensor:
    """The mean of heatmaps and of the unflipped ones of the mirrored images.

    Both are (N, K, h, w), of one type.
    """
    unflipped = unflip_heatmaps(flipped_heatmaps, flip_permutation, shift=shift)
    return unflipped.add_(heatmaps).mul_(0.5)  # a copy, ours to change
