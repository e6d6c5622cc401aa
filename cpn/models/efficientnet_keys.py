"""Key names of the efficientnet_pytorch family of packages, which also ship Lite weights on PyPI.

They number the blocks 0, 1, 2, ... through all stages, timm counts stage by stage; each block's
convolutions and norms are the same, under other names.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from cpn.errors import UserError

OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
EXPANDING = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    "_se_reduce": "se.conv_reduce",
    "_se_expand": "se.conv_expand",
}
# A block without expansion (the first stage) starts at its depthwise convolution.
PLAIN = {
    **EXPANDING,
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}


def is_efficientnet_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has that family's names."""
    return "_conv_stem.weight" in state


def to_timm_keys(state: Mapping[str, Tensor], *, stage_depths: Sequence[int]) -> dict[str, Tensor]:
    """The same tensors under timm's names.

    Args:
        state: names such as "_blocks.3._expand_conv.weight".
        stage_depths: blocks per stage of the timm network.

    Raises:
        UserError: a name that the family does not have, or a block too many.
    """
    places = [
        f"blocks.{stage}.{index}"
        for stage, depth in enumerate(stage_depths)
        for index in range(depth)
    ]
    return {_timm_key(key, state, places): tensor for key, tensor in state.items()}


def _timm_key(key: str, state: Mapping[str, Tensor], places: Sequence[str]) -> str:
    parts = key.split(".")
    try:
        if parts[0] != "_blocks":
            return ".".join((OUTER[parts[0]], *parts[1:]))
        expands = f"_blocks.{parts[1]}._expand_conv.weight" in state
        names = EXPANDING if expands else PLAIN
        return ".".join((places[int(parts[1])], names[parts[2]], *parts[3:]))
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"weights look like efficientnet_pytorch's, but {key!r} has no place in a network of "
            f"{len(places)} blocks; is it the same variant?"
        ) from error
