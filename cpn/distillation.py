"""A large network's heatmaps as a small one's second teacher.

After "Fast Human Pose Estimation" (Zhang, Zhu and Ye, CVPR 2019, section 3.3): every output of the
student is compared with the annotation's heatmaps and with the teacher's, which also say something
of keypoints that nobody labelled, and how sure one can be.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cpn.losses import CpnLoss, LossParts
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput


class Mimicry:
    """The share of the loss that is the distance to a teacher's heatmaps.

    Args:
        teacher: in evaluation mode, with the student's keypoints and family of heatmaps.
        network: the teacher as it is called (autocast).
        loss: the student's, which then compares with the teacher's heatmaps, for all keypoints.
        level_names: of the student's GlobalNet, coarse to fine. Each level learns from the
            teacher's own level of that name, or, where it has none, from its final heatmaps.
        weight: share of this loss in the whole, 0..1.
    """

    def __init__(
        self,
        teacher: CascadedPyramidNetwork,
        network: Callable[[Tensor], CpnOutput],
        loss: CpnLoss,
        level_names: Sequence[str],
        *,
        weight: float,
    ) -> None:
        self._teacher = teacher
        self._network = network
        self._loss = loss
        self._level_names = level_names
        self._weight = weight

    def __call__(self, crops: Tensor, output: CpnOutput, annotated: LossParts) -> LossParts:
        """Mixes both losses.

        Args:
            crops: (N, 3, H, W) uint8, what the student saw.
            output: what the student made of it.
            annotated: the distance to the annotations' heatmaps.

        Returns:
            total = (1 - weight) * annotated + weight * mimic, and the part "mimic" beside the
            annotations' parts.

        Raises:
            ValueError: the teacher's heatmaps have another size.
        """
        with torch.no_grad():
            told = self._network(self._teacher.preprocess(crops))
        by_level = dict(zip(self._teacher.level_names, told.global_heatmaps, strict=True))
        everyone = torch.full(told.final.shape[:2], 2, device=crops.device)
        refined = output.refined_heatmaps
        mimic: LossParts = self._loss(
            [heatmaps.float() for heatmaps in output.global_heatmaps],
            None if refined is None else refined.float(),
            [by_level.get(name, told.final).float() for name in self._level_names],
            None if refined is None else told.final.float(),
            everyone,
        )
        total = (1 - self._weight) * annotated.total + self._weight * mimic.total
        return LossParts(total, annotated.parts | {"mimic": mimic.total.detach()})
