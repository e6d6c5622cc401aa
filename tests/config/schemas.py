"""All that `cpn/config/*schema.py` defines, so that no list of the modules can be too short."""

import ast
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel

import cpn.config

SCRIPTS = Path(__file__).parents[2] / "scripts"


@cache
def schema_modules() -> tuple[ModuleType, ...]:
    """The modules of `cpn.config` that say what a configuration may be."""
    folder = Path(cpn.config.__path__[0])
    names = sorted(file.stem for file in folder.glob("*schema.py"))
    return tuple(importlib.import_module(f"cpn.config.{name}") for name in names)


def schemas() -> dict[str, type[BaseModel]]:
    """By name."""
    return {
        name: value
        for module in schema_modules()
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseModel)
    }


@cache
def script_schemas() -> dict[str, type[BaseModel]]:
    """Read which schema each script gives its primary config: `@script("train", TrainConfig)`."""
    known = schemas()
    found = {}
    for file in SCRIPTS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="script"), args=[ast.Constant(value=name), ast.Name(id=schema)]
                ):
                    found[str(name)] = known[schema]
    return found
