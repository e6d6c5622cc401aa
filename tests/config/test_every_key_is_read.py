"""Every key of every schema is read by the code: a key that changes nothing cannot stay.

The proof is static. The classes of `cpn` are followed by their annotations: from a parameter
`config: TrainConfig` through `model = config.model` to `model.refine.levels`, which reads `model`
of TrainConfig, `refine` of ModelConfig and `levels` of RefineConfig.
"""

import ast
import typing
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict

from tests.config.schemas import schemas

ROOT = Path(__file__).parents[2]
CONFIG_FOLDER = ROOT / "cpn" / "config"
Key = tuple[str, str]


def _primary_schemas() -> list[type[BaseModel]]:
    """List the schemas that no other schema contains: one per script."""
    classes = [schema for schema in schemas().values() if schema.model_fields]
    inside = {below for schema in classes for below in _models_in(schema) if below is not schema}
    return [schema for schema in classes if schema not in inside]


def _nested(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _nested(argument)


def _models_in(schema: type[BaseModel]) -> set[type[BaseModel]]:
    below = [m for field in schema.model_fields.values() for m in _nested(field.annotation)]
    return {schema}.union(*(_models_in(model) for model in below))


def _all_models() -> set[type[BaseModel]]:
    return set[type[BaseModel]]().union(*(_models_in(schema) for schema in _primary_schemas()))


def _definer(model: type[BaseModel], name: str) -> str:
    """Name the class that a schema has a key from: itself or one that it extends."""
    owners = [c for c in model.__mro__ if name in vars(c).get("__annotations__", {})]
    return owners[-1].__name__


def _field_types(models: Iterable[type[BaseModel]]) -> dict[Key, str | None]:
    types: dict[Key, str | None] = {}
    for model in models:
        for name, field in model.model_fields.items():
            inner = [nested.__name__ for nested in _nested(field.annotation)]
            types[model.__name__, name] = inner[0] if len(inner) == 1 else None
    return types


def _annotated(annotation: ast.expr | None) -> str | None:
    """Name the one class in `X`, `"X"`, `X | None`, `Final[X]`; None for anything else."""
    match annotation:
        case ast.Constant(value=str() as text):
            return _annotated(ast.parse(text, mode="eval").body)
        case ast.BinOp(left=left, right=ast.Constant(value=None)):
            return _annotated(left)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return None


class _Reads(ast.NodeVisitor):
    """Collect (schema, field) pairs that the given modules read."""

    def __init__(self, modules: Iterable[ast.Module], models: Iterable[type[BaseModel]]) -> None:
        self.found: set[Key] = set()
        models = list(models)
        fields = _field_types(models)
        self._fields = fields
        self._definers = {(m.__name__, f): _definer(m, f) for m in models for f in m.model_fields}
        self._members: dict[Key, str | None] = dict(fields)
        self._returns: dict[str, str | None] = {}
        self._names: dict[str, str | None] = {}
        self._class = ""
        trees = list(modules)
        # The second round knows what `self.x` and functions of other modules are.
        for _ in range(2):
            for tree in trees:
                self.visit(tree)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._class = self._class, node.name
        self._returns[node.name] = node.name
        self.generic_visit(node)
        self._class = outer

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = dict(self._names)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self._names.update({arg.arg: _annotated(arg.annotation) for arg in arguments})
        if self._class and arguments and arguments[0].arg == "self":
            self._names["self"] = self._class
            self._members.setdefault((self._class, node.name), _annotated(node.returns))
        else:
            self._returns[node.name] = _annotated(node.returns)
        self.generic_visit(node)
        self._names = outer

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.generic_visit(node)
        self._bind(node.target, _annotated(node.annotation))
        if self._class and isinstance(node.target, ast.Name):
            self._members.setdefault((self._class, node.target.id), _annotated(node.annotation))

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            match target, node.value:
                case ast.Tuple(elts=names), ast.Tuple(elts=values) if len(names) == len(values):
                    for name, value in zip(names, values, strict=True):
                        self._bind(name, self._type(value))
                case _:
                    self._bind(target, self._type(node.value))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.generic_visit(node)
        owner = self._type(node.value)
        if owner is not None and isinstance(node.ctx, ast.Load):
            self._read(owner, node.attr)

    def _read(self, owner: str, name: str) -> None:
        if (owner, name) in self._fields:
            self.found.add((self._definers[owner, name], name))
        elif name == "model_dump":
            # A group of plain values that is handed on whole; a dumped tree proves nothing.
            members = {key: below for key, below in self._fields.items() if key[0] == owner}
            if not any(members.values()):
                self.found.update((self._definers[key], key[1]) for key in members)

    def _bind(self, target: ast.expr, bound: str | None) -> None:
        match target:
            case ast.Name(id=name):
                self._names[name] = bound
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if bound:
                self._members[self._class, name] = bound

    def _type(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name):
                return self._names.get(name)
            case ast.Attribute(value=value, attr=name):
                owner = self._type(value)
                return self._members.get((owner, name)) if owner else None
            case ast.Call(func=function):
                return self._type_of_call(function)
            case ast.BoolOp(values=values):
                return next(filter(None, map(self._type, values)), None)
            case ast.IfExp(body=body, orelse=orelse):
                return self._type(body) or self._type(orelse)
        return None

    def _type_of_call(self, function: ast.expr) -> str | None:
        match function:
            case ast.Attribute(value=ast.Name(id=name), attr=verb) if name not in self._names:
                return name if verb.startswith("model_validate") else None
            case ast.Attribute(value=value, attr="model_copy"):
                return self._type(value)
            case ast.Attribute(value=value, attr=name):
                return self._members.get((self._type(value) or "", name))
            case ast.Name(id=name):
                return self._returns.get(name)
        return None


@cache
def _modules() -> tuple[ast.Module, ...]:
    """Parse the package. Of the schemas themselves only properties count, not their validators."""
    trees = []
    for file in sorted((ROOT / "cpn").rglob("*.py")):
        tree = ast.parse(file.read_text())
        if CONFIG_FOLDER in file.parents:
            tree.body = [x for x in tree.body if isinstance(x, ast.ClassDef)]
            for group in tree.body:
                assert isinstance(group, ast.ClassDef)
                group.body = [x for x in group.body if _is_property(x)]
        trees.append(tree)
    return tuple(trees)


def _is_property(node: ast.stmt) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(name, ast.Name) and name.id == "property" for name in node.decorator_list
    )


def _unread(modules: Iterable[ast.Module], models: Iterable[type[BaseModel]]) -> list[str]:
    models = list(models)
    keys = {(_definer(model, name), name) for model in models for name in model.model_fields}
    return sorted(f"{owner}.{name}" for owner, name in keys - _Reads(modules, models).found)


def test_every_key_is_read() -> None:
    assert _unread(_modules(), _all_models()) == []


def test_every_group_is_frozen_and_closed() -> None:
    for model in _all_models():
        config = model.model_config
        assert config.get("frozen"), model
        assert config.get("extra") == "forbid", model


class _Inner(BaseModel):
    model_config = ConfigDict(frozen=True)
    a: int
    b: int


class _Mode(BaseModel):
    c: Literal["x"]
    d: Annotated[float, "unit"]


class _Outer(BaseModel):
    inner: _Inner
    mode: _Mode | None
    seed: int


INNER = ["_Inner.a", "_Inner.b"]
MODE = ["_Mode.c", "_Mode.d"]
OUTER = ["_Outer.inner", "_Outer.mode", "_Outer.seed"]


@pytest.mark.parametrize(
    ("code", "unread"),
    [
        ("pass", INNER + MODE + OUTER),
        ("config.seed = 3", INNER + MODE + OUTER),
        ("other.seed; other.inner.a", INNER + MODE + OUTER),
        ("save(config.model_dump())", INNER + MODE + OUTER),
        ("config.seed; config.inner.a", ["_Inner.b", *MODE, "_Outer.mode"]),
        ("x = config.inner; f(x.a, x.b)", [*MODE, "_Outer.mode", "_Outer.seed"]),
        ("x, y = config.inner, 1; f(x.a, y.b)", ["_Inner.b", *MODE, "_Outer.mode", "_Outer.seed"]),
        ("f(**config.inner.model_dump())", [*MODE, "_Outer.mode", "_Outer.seed"]),
        ("m = config.mode or 1; m.c", [*INNER, "_Mode.d", "_Outer.inner", "_Outer.seed"]),
        ("m = config.mode if 1 else 2; m.c", [*INNER, "_Mode.d", "_Outer.inner", "_Outer.seed"]),
        ("h(config).a", ["_Inner.b", *MODE, *OUTER]),
        ("_Inner.model_validate({}).a", ["_Inner.b", *MODE, *OUTER]),
        ("config.inner.model_copy().a", ["_Inner.b", *MODE, "_Outer.mode", "_Outer.seed"]),
    ],
)
def test_the_proof_follows_values_and_nothing_else(code: str, unread: list[str]) -> None:
    helper = "def h(x: int) -> '_Inner': return x\n"
    module = ast.parse(f"{helper}def g(config: _Outer, other: int) -> None:\n    {code}")
    assert _unread([module], _models_in(_Outer)) == unread


def test_members_of_classes_are_followed() -> None:
    code = """
class Keeper:
    def __init__(self, config: _Outer) -> None:
        self._config = config
    @property
    def inner(self) -> _Inner:
        return self._config.inner
class User:
    keeper: Keeper
    def use(self) -> None:
        f(self.keeper.inner.a, self.keeper._config.seed)
"""
    assert _unread([ast.parse(code)], _models_in(_Outer)) == [
        "_Inner.b",
        "_Mode.c",
        "_Mode.d",
        "_Outer.mode",
    ]


class _More(_Outer):
    forgotten: int


def test_a_key_that_nothing_reads_is_found_and_inherited_keys_count_once() -> None:
    code = "def f(config: _Outer) -> None:\n    config.seed\n"
    code += "def g(config: _More) -> None:\n    config.mode.c; config.mode.d\n"
    code += "    config.inner.a; config.inner.b\n"
    assert _unread([ast.parse(code)], {_Outer, *_models_in(_More)}) == ["_More.forgotten"]
