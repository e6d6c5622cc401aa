from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from cpn.distillation import Mimicry
from cpn.losses import CpnLoss, LossParts
from cpn.models.cpn import CpnOutput


def maps(value: float, size: int = 2) -> Tensor:
    """(1, 1, h, w) that hold one value."""
    return torch.full((1, 1, size, size), value)


CROPS = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
ANNOTATED = LossParts(torch.tensor(10.0), {"global": torch.tensor(4.0)})


def mimicry(told: Callable[[], CpnOutput]) -> Mimicry:
    """Of a teacher with the levels P5 and P2, coarse to fine."""
    names = ("p3", "p2")
    teacher: Any = SimpleNamespace(level_names=("p5", "p2"), preprocess=torch.Tensor.float)
    loss = CpnLoss(names, global_weight=0.5, refine_weight=2.0, refine_top_m=None)
    return Mimicry(teacher, lambda _: told(), loss, names, weight=0.25)


def test_each_output_has_its_teacher_by_hand() -> None:
    told = CpnOutput((maps(9.0), maps(1.0)), maps(3.0))
    seen = CpnOutput((maps(5.0), maps(5.0)), maps(5.0))
    parts = mimicry(lambda: told)(CROPS, seen, ANNOTATED)
    # P3 by the final maps: 0.5 * 2^2; P2 by the teacher's P2: 0.5 * 4^2; RefineNet: 2 * 2^2
    assert parts.parts["mimic"].item() == 2 + 8 + 8
    assert parts.total.item() == 0.75 * 10 + 0.25 * 18
    assert parts.parts["global"].item() == 4


def test_a_teacher_without_refine_net_teaches_by_its_finest_level() -> None:
    told = CpnOutput((maps(9.0), maps(1.0)), None)
    seen = CpnOutput((maps(1.0), maps(1.0)), maps(2.0))
    assert mimicry(lambda: told)(CROPS, seen, ANNOTATED).parts["mimic"].item() == 2


def test_the_gradient_goes_to_the_student_alone() -> None:
    told = maps(0.0).requires_grad_()
    student = maps(1.0).requires_grad_()
    made = mimicry(lambda: CpnOutput((2 * told, 2 * told), None))
    mixed = made(CROPS, CpnOutput((student, student), None), ANNOTATED)
    mixed.total.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    # of each cell: 0.25 * 2 levels * 0.5 * 2 * 1 / 4 cells
    assert student.grad.flatten().tolist() == [0.125] * 4
    assert told.grad is None


def test_heatmaps_of_another_size_are_refused() -> None:
    told = CpnOutput((maps(0.0, 4), maps(0.0, 4)), None)
    with pytest.raises(ValueError, match="differ in shape"):
        mimicry(lambda: told)(CROPS, CpnOutput((maps(1.0), maps(1.0)), None), ANNOTATED)
