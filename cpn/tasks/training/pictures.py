"""Pictures for TensorBoard: predicted beside true skeletons, and heatmaps per pyramid level."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cpn.data.sample import PoseBatch
from cpn.engine.tracking import NullTracker
from cpn.geometry.crop import transform_points
from cpn.models.cpn import CascadedPyramidNetwork, CpnOutput
from cpn.prediction.estimator import PoseEstimator
from cpn.prediction.visualization import contact_sheet, draw_skeletons, heatmap_grid
from cpn.tasks.evaluation.epoch_evaluation import EpochEvaluation

Picture = npt.NDArray[np.uint8]
NUM_PEOPLE = 8


@dataclass
class PictureLogger:
    """Draws the first validation people after an epoch, always the same ones, on rank 0.

    Attributes:
        evaluation: gives the people and the way to their points.
        tracker: where the pictures go.
        is_main: other ranks draw nothing.
    """

    evaluation: EpochEvaluation
    tracker: NullTracker
    is_main: bool

    def __call__(self, module: nn.Module, epoch: int, step: int) -> None:
        """`on_epoch_end` of the trainer's task: where the epoch was evaluated, it is drawn."""
        if not self.is_main or epoch != self.evaluation.epoch:
            return
        assert isinstance(module, CascadedPyramidNetwork)
        estimator = self.evaluation.estimator(module)
        batch = self.evaluation.first_people(NUM_PEOPLE)
        self.tracker.image("people", skeleton_sheet(estimator, batch), step=step)
        for level, picture in heatmap_pictures(module, batch, self.evaluation.context.device):
            self.tracker.image(f"heatmaps/{level}", picture, step=step)


def skeleton_sheet(estimator: PoseEstimator, batch: PoseBatch) -> Picture:
    """Per person two crops: the predicted skeleton, then the true one."""
    device = estimator.model.pixel_mean.device
    poses = estimator(batch.crops.to(device), batch.image_to_crop)
    predicted = transform_points(batch.image_to_crop.numpy(), poses.points_image)
    cells = []
    for index, crop in enumerate(_as_pictures(batch.crops)):
        truth = (batch.points[index].numpy(), batch.visibility[index].numpy() > 0)
        for points, shown in ((predicted[index], poses.confidences[index] > 0.2), truth):
            cells.append(
                draw_skeletons(crop, points[None], shown[None].astype(float), estimator.skeleton)
            )
    return contact_sheet(cells, columns=8)


@torch.no_grad()
def heatmap_pictures(
    model: CascadedPyramidNetwork, batch: PoseBatch, device: torch.device
) -> list[tuple[str, Picture]]:
    """The first person's heatmaps per GlobalNet level, coarse to fine, and RefineNet's."""
    output: CpnOutput = nn.Module.__call__(model, model.preprocess(batch.crops[:1].to(device)))
    maps = dict(zip(model.level_names, output.global_heatmaps, strict=True))
    if output.refined_heatmaps is not None:
        maps["refined"] = output.refined_heatmaps
    crop = _as_pictures(batch.crops[:1])[0]
    return [
        (level, heatmap_grid(heatmaps[0].float().cpu().numpy(), crop))
        for level, heatmaps in maps.items()
    ]


def _as_pictures(crops: Tensor) -> Picture:
    return np.ascontiguousarray(crops.permute(0, 2, 3, 1).numpy())
