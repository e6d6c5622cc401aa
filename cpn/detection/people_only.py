"""Keeps a detector of many classes from spending its places on anything but people."""

from typing import Any

import torch
from torch import Tensor

from cpn.detection.detector import Detector


def look_for_one_class(model: Detector, label: int) -> None:
    """Changes a network in evaluation so that it finds one class as before, and nothing else.

    Candidates, the surest boxes of a level and the most detections of a photo are counted over all
    classes: in a street of cars, a network of COCO's 91 classes would leave people out.

    Args:
        model: of any number of classes.
        label: of the class, 1 or more; what is found still carries it.
    """
    heads = model.heads

    def this_or_not(_module: object, _inputs: object, output: Any) -> tuple[Tensor, Tensor]:  # noqa: ANN401 - torchvision has no types
        """(R, C) logits, (R, 4 C) offsets -> no class but this is ever sure; it stays as it is."""
        logits, offsets = output
        only = torch.full_like(logits, -torch.inf)
        only[:, label] = logits[:, label]
        others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
        only[:, 0] = others.logsumexp(dim=1)
        return only, offsets

    def this_or_nothing(_module: object, _inputs: object, output: Tensor) -> Tensor:
        """(N, A, C) logits, each class on its own -> the others are never sure."""
        only = torch.full_like(output, -torch.inf)
        only[..., label] = output[..., label]
        return only

    if hasattr(heads, "roi_heads"):
        heads.roi_heads.box_predictor.register_forward_hook(this_or_not)
    else:
        heads.head.classification_head.register_forward_hook(this_or_nothing)
