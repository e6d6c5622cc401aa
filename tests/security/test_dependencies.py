"""S8: the floors in pyproject.toml are not below the first versions without known holes."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

# By advisory: CVE-2025-32434, CVE-2026-24747, CVE-2026-4538 (torch); CVE-2026-68508,
# CVE-2026-106439, CVE-2026-106441 (hydra); the heap overflow of run-lengths (pycocotools);
# polyglot files (safetensors); CVE-2025-27516 (jinja2); CVE-2026-40192, CVE-2026-55798 (Pillow);
# CVE-2026-27489, -34446 and -34447 (onnx); a server that all could reach
# (tensorboard).
FLOORS = {
    "torch": (2, 11),
    "hydra-core": (1, 3, 8),
    "pycocotools": (2, 0, 5),
    "safetensors": (0, 4),
    "pyyaml": (5, 4),
    "pillow": (12, 3),
    "onnx": (1, 21),
    "jinja2": (3, 1, 6),
    "tensorboard": (2, 0),
}
NEEDED = (
    *("torch", "hydra-core", "pycocotools", "safetensors", "pyyaml", "jinja2", "pillow"),
    "tensorboard",
)


def declared(project: dict[str, object]) -> dict[str, list[tuple[int, ...]]]:
    """Every floor of every package, extras included; () where there is none."""
    extras = project.get("optional-dependencies", {})
    assert isinstance(extras, dict)
    lists = [project["dependencies"], *extras.values()]
    found: dict[str, list[tuple[int, ...]]] = {}
    for text in (text for each in lists for text in each):
        name = re.match(r"[\w.-]+", text)
        floor = re.search(r">=\s*([\d.]+)", text)
        assert name is not None
        numbers = tuple(int(part) for part in floor[1].split(".")) if floor else ()
        found.setdefault(name[0].lower().replace("_", "-"), []).append(numbers)
    return found


@pytest.mark.parametrize("package", FLOORS)
def test_no_version_with_a_known_hole_is_allowed(package: str) -> None:
    floors = declared(PROJECT).get(package, [])
    assert floors or package not in NEEDED
    assert all(floor >= FLOORS[package] for floor in floors)


def test_a_floor_that_is_too_low_is_seen() -> None:
    low = declared({"dependencies": ["Torch", "hydra_core>=1.3.2", "onnx>=1.21.1; x > '3'"]})
    assert low == {"torch": [()], "hydra-core": [(1, 3, 2)], "onnx": [(1, 21, 1)]}
    assert low["torch"][0] < FLOORS["torch"]
    assert low["hydra-core"][0] < FLOORS["hydra-core"]
