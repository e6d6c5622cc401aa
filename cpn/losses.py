"""CPN's losses: L2 per GlobalNet level, L2 with hard keypoint mining on RefineNet (section 3)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

CountedJoints = Literal["visible", "labelled"]
UncountedJoints = Literal["ignore", "zero"]


class LossParts(NamedTuple):
    """A loss and what it is made of.

    Attributes:
        total: () to call `backward` on.
        parts: detached () summands: "global_p5" … "global_p2", their sum "global", and "refine"
            where there is a RefineNet; total = global + refine, or what `Mimicry` mixes.
    """

    total: Tensor
    parts: dict[str, Tensor]


class CpnLoss(nn.Module):
    """The sum over GlobalNet's levels and RefineNet of per-joint mean squared errors.

    Per instance and joint the error is the mean over the map's cells. The mean over all K joints is
    taken, or the sum over the M hardest divided by M (online hard keypoint mining); then the mean
    over instances. Means are over everything, not over the counted joints, as in the original, so
    equal shards of a batch average to the batch's loss.

    Args:
        levels: GlobalNet's level names, coarse to fine.
        global_weight: of every level's loss (1/2 in pytorch-cpn, 1/8 in tf-cpn).
        refine_weight: of RefineNet's loss.
        global_joints: which joints GlobalNet counts: "visible" (v = 2) or "labelled" (v > 0).
        refine_joints: which joints RefineNet counts. The others' error is left out.
        uncounted: what GlobalNet does with the others: "ignore" leaves their error out, "zero"
            trains their maps towards zero, as the original does.
        global_top_m: hardest joints per instance on GlobalNet's levels; None for all.
        refine_top_m: hardest joints per instance on RefineNet; None for all, clamped to K.

    Raises:
        ValueError: no levels, an unknown choice, a negative weight or a top M below 1.
    """

    def __init__(
        self,
        levels: Sequence[str],
        *,
        global_weight: float = 0.5,
        refine_weight: float = 1.0,
        global_joints: CountedJoints = "visible",
        refine_joints: CountedJoints = "labelled",
        uncounted: UncountedJoints = "zero",
        global_top_m: int | None = None,
        refine_top_m: int | None = 8,
    ) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.global_weight = _checked_weight("global_weight", global_weight)
        self.refine_weight = _checked_weight("refine_weight", refine_weight)
        self.global_joints = _checked_choice(
            "global_joints", global_joints, get_args(CountedJoints)
        )
        self.refine_joints = _checked_choice(
            "refine_joints", refine_joints, get_args(CountedJoints)
        )
        self.uncounted = _checked_choice("uncounted", uncounted, get_args(UncountedJoints))
        self.global_top_m = _checked_top_m("global_top_m", global_top_m)
        self.refine_top_m = _checked_top_m("refine_top_m", refine_top_m)
        if not self.levels:
            raise ValueError("the loss needs at least one GlobalNet level, got none")

    def forward(
        self,
        global_heatmaps: Sequence[Tensor],
        refined_heatmaps: Tensor | None,
        global_targets: Sequence[Tensor],
        refined_target: Tensor | None,
        visibility: Tensor,
    ) -> LossParts:
        """Compares predictions with targets.

        Args:
            global_heatmaps: per level, coarse to fine, (N, K, h, w); sizes may differ.
            refined_heatmaps: (N, K, h, w), None without RefineNet.
            global_targets: as `global_heatmaps`, drawn for every labelled joint.
            refined_target: as `refined_heatmaps`.
            visibility: (N, K) COCO's v: 0 not labelled, 1 labelled, 2 visible.

        Raises:
            ValueError: another number of levels, a target of another shape, or only one of
                refined heatmaps and target.
        """
        self._check_levels(global_heatmaps, global_targets)
        counted = _counted(visibility, self.global_joints)
        parts = {
            f"global_{level}": self._global_loss(heatmaps, target, counted)
            for level, heatmaps, target in zip(
                self.levels, global_heatmaps, global_targets, strict=True
            )
        }
        total = parts["global"] = torch.stack(list(parts.values())).sum()
        if (refined_heatmaps is None) != (refined_target is None):
            raise ValueError("refined heatmaps and their target must be given together")
        if refined_heatmaps is not None and refined_target is not None:
            parts["refine"] = self._refine_loss(refined_heatmaps, refined_target, visibility)
            total = total + parts["refine"]
        return LossParts(total, {name: part.detach() for name, part in parts.items()})

    def _check_levels(self, heatmaps: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        if not len(heatmaps) == len(targets) == len(self.levels):
            raise ValueError(
                f"the loss is built for levels {list(self.levels)} but was given "
                f"{len(heatmaps)} heatmaps and {len(targets)} targets"
            )

    def _global_loss(self, heatmaps: Tensor, target: Tensor, counted: Tensor) -> Tensor:
        if self.uncounted == "zero":
            target = target * counted[..., None, None]
            errors = joint_errors(heatmaps, target)
        else:
            errors = joint_errors(heatmaps, target) * counted
        return self.global_weight * mean_of_hardest(errors, self.global_top_m)

    def _refine_loss(self, heatmaps: Tensor, target: Tensor, visibility: Tensor) -> Tensor:
        errors = joint_errors(heatmaps, target) * _counted(visibility, self.refine_joints)
        return self.refine_weight * mean_of_hardest(errors, self.refine_top_m)


def joint_errors(heatmaps: Tensor, target: Tensor) -> Tensor:
    """(N, K) mean squared error of each joint's map, in float32 also under autocast.

    Raises:
        ValueError: the shapes differ.
    """
    if heatmaps.shape != target.shape:
        raise ValueError(
            f"heatmaps {tuple(heatmaps.shape)} and target {tuple(target.shape)} differ in shape"
        )
    return (heatmaps.float() - target.float()).square().mean(dim=(-2, -1))


def mean_of_hardest(errors: Tensor, top_m: int | None) -> Tensor:
    """The mean over instances of the mean of each one's M highest errors (section 3.3).

    Args:
        errors: (N, K), zero for joints that do not count.
        top_m: M, clamped to K; None for all K. The sum is divided by M even where fewer joints
            count, so that an instance with few labels weighs less.
    """
    if top_m is None or top_m >= errors.shape[1]:
        return errors.mean()
    return errors.topk(top_m, dim=1, sorted=False).values.mean()


def _counted(visibility: Tensor, joints: str) -> Tensor:
    return visibility == 2 if joints == "visible" else visibility > 0


def _checked_choice(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def _checked_weight(name: str, value: float) -> float:
    if not 0 <= value < float("inf"):
        raise ValueError(f"{name} must be a finite number >= 0, not {value}")
    return value


def _checked_top_m(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise ValueError(f"{name} must be at least 1, or None for all joints, not {value}")
    return value
