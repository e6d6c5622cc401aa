"""Weights into a module, after every key and shape was compared."""

from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor, nn

from cpn.errors import UserError

SHOWN_KEYS = 5


def load_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: Path | str,
    may_lack: Callable[[str], bool] = lambda _: False,
    leftover: Callable[[str], bool] = lambda _: False,
) -> None:
    """Copy `state` into `module`, where a key that `state` may lack keeps its value.

    Args:
        module: Is changed.
        state: As the others, see `check_weights`.
        source: For messages.
        may_lack: Says which keys may be missing.
        leftover: Says which ones may be there for nothing.

    Raises:
        UserError: as `check_weights`; then nothing is changed.
    """
    check_weights(module, state, source=source, may_lack=may_lack, leftover=leftover)
    own = module.state_dict()
    module.load_state_dict({key: state.get(key, value) for key, value in own.items()})


def check_weights(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    source: Path | str,
    may_lack: Callable[[str], bool] = lambda _: False,
    leftover: Callable[[str], bool] = lambda _: False,
) -> None:
    """Make sure that every key and shape of `state` and `module` agree.

    Args:
        module: May be on the meta device.
        state: Names as in the module's state dict.
        source: Where `state` comes from, for messages.
        may_lack: Says of a key of the module whether `state` may be without it.
        leftover: Says of a key that the module has not whether that is expected.

    Raises:
        UserError: names the first five missing, unexpected and differently shaped keys.
    """
    own = module.state_dict()
    problems = {
        "missing": [key for key in own if key not in state and not may_lack(key)],
        "unexpected": [key for key in state if key not in own and not leftover(key)],
        "shape differs": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(value.shape)}"
            for key, value in own.items()
            if key in state and state[key].shape != value.shape
        ],
    }
    found = [f"{kind}: {_first(keys)}" for kind, keys in problems.items() if keys]
    if found:
        raise UserError(f"the weights of {source} do not fit the model; {'; '.join(found)}")


def _first(keys: list[str]) -> str:
    more = f" and {len(keys) - SHOWN_KEYS} more" if len(keys) > SHOWN_KEYS else ""
    return ", ".join(keys[:SHOWN_KEYS]) + more
