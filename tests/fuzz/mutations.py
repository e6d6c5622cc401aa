"""JSON that stays JSON: a byte fuzzer alone hardly gets past the first comma."""

import json
import random
from collections.abc import Callable
from copy import deepcopy
from typing import Any

Place = tuple[Any, Any]  # a container and a key of it

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 17, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**40),
    *(0.5, -0.0, 1e7, 1e-320, 1e308, 7.0, float("nan"), float("inf"), -float("inf")),
    *(
        "",
        "person",
        "left_a",
        "right_a",
        "../x.jpg",
        "/etc/passwd",
        "\0",
        "\ud800",
        "7",
        "🙂",
        "\n",
    ),
    *([], {}, [[]], [0, 0, 1, 1], [0, 0, 0, 0], [1, 2], [1, 1, 2] * 2, {"id": 1}, [None] * 4),
)


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """One to four changes of a JSON document; of other bytes, another document."""
    chooser = random.Random(seed)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data[:max_size]
    try:
        for _ in range(chooser.randint(1, 4)):
            if places := _places(document):
                container, key = chooser.choice(places)
                chooser.choice(CHANGES)(chooser, container, key)
        changed = json.dumps(document).encode()
    except (ValueError, RecursionError):
        return data[:max_size]
    return changed if len(changed) <= max_size else data[:max_size]


def _places(document: object) -> list[Place]:
    found: list[Place] = []
    waiting = [document]
    while waiting:
        container = waiting.pop()
        if isinstance(container, dict):
            below = [(key, container[key]) for key in container]
        elif isinstance(container, list):
            below = list(enumerate(container))
        else:
            continue
        found += [(container, key) for key, _ in below]
        waiting += [value for _, value in below]
    return found


def _replace(chooser: random.Random, container: Any, key: Any) -> None:
    container[key] = deepcopy(chooser.choice(ODD))


def _delete(_chooser: random.Random, container: Any, key: Any) -> None:
    if isinstance(container, dict) or key < len(container):
        del container[key]


def _nudge(chooser: random.Random, container: Any, key: Any) -> None:
    value = container[key]
    if isinstance(value, int | float):
        container[key] = value + chooser.choice((-1, 1, 0.5, 1e9))
    elif isinstance(value, str):
        container[key] = value + chooser.choice(("x", "/..", "\n", ""))


def _repeat(_chooser: random.Random, container: Any, key: Any) -> None:
    if isinstance(container, list) and len(container) < 50:
        container.append(json.loads(json.dumps(container[key])))


def _nest(chooser: random.Random, container: Any, key: Any) -> None:
    for _ in range(chooser.choice((1, 5, 400))):
        container[key] = [container[key]] if chooser.random() < 0.5 else {"a": container[key]}


def _swap(chooser: random.Random, container: Any, key: Any) -> None:
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    other = chooser.choice(keys)
    container[key], container[other] = container[other], container[key]


CHANGES: tuple[Callable[[random.Random, Any, Any], None], ...] = (
    *(_replace, _replace, _replace, _delete, _nudge, _repeat, _nest, _swap),
)
