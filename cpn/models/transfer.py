"""A network's weights as the start of another one, whose keypoints or parts may differ."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from cpn.models.cpn import CascadedPyramidNetwork


class Transfer(NamedTuple):
    """What a network takes from another one's weights.

    Attributes:
        state: for the network, complete.
        taken: keys whose values are the other network's.
        partly: keys of which some keypoints' rows are, and how many.
        anew: keys that the other network lacks or has in another shape; they are as they were.
        unused: the other network's keys that this one lacks.
    """

    state: dict[str, Tensor]
    taken: list[str]
    partly: dict[str, int]
    anew: list[str]
    unused: list[str]


def transfer_weights(
    model: CascadedPyramidNetwork, state: Mapping[str, Tensor], rows: Mapping[int, int]
) -> Transfer:
    """Matches weights by key and shape, and the heads' by keypoint.

    Args:
        model: of K keypoints; it is not changed.
        state: of another `CascadedPyramidNetwork`, of K' keypoints.
        rows: of this network's keypoints those that begin as one of the other's: {0..K-1: 0..K'-1}.
    """
    found = Transfer({}, [], {}, [], [key for key in state if key not in model.state_dict()])
    for key, own in model.state_dict().items():
        given = state.get(key)
        by_row = key in model.keypoint_keys
        if given is None or not _fits(given, own, by_row=by_row) or (by_row and not rows):
            found.anew.append(key)
            found.state[key] = own
        elif by_row:
            found.state[key] = own.clone()
            found.state[key][list(rows)] = given[list(rows.values())].to(own)
            if len(rows) == len(own):
                found.taken.append(key)
            else:
                found.partly[key] = len(rows)
        else:
            found.taken.append(key)
            found.state[key] = given
    return found


def _fits(given: Tensor, own: Tensor, *, by_row: bool) -> bool:
    """Whether the shapes are the same, for heads but for the number of keypoints."""
    return given.shape[1:] == own.shape[1:] if by_row else given.shape == own.shape
