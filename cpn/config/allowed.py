"""What a schema allows at a place, in words: read from the JSON schema that pydantic gives.

A *path* is a tuple of keys and list indices, `("model", "pyramid", "levels", 0)`, written
`model.pyramid.levels[0]`. A *node* is one place of the JSON schema, a plain mapping.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Node: TypeAlias = Mapping[str, Any]

_BOUNDS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "divisible by {}",
}
_NOUNS = {"integer": "an integer", "number": "a number", "boolean": "true or false", "null": "null"}


def dotted(path: Path) -> str:
    """Write a path as a person types it: `model.pyramid.levels[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def alternatives(node: Node, root: Node) -> list[Node]:
    """Follow references and unions of `node` to the places that stand on their own."""
    if "$ref" in node:
        target = root["$defs"][str(node["$ref"]).rsplit("/", 1)[-1]]
        return alternatives(target, root)
    branches = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    if branches is None:
        return [node]
    return [place for branch in branches for place in alternatives(branch, root)]


def child(node: Node, part: str | int, root: Node) -> Node | None:
    """Find the node below `node` at one key or index; None where the schema has no such place."""
    for place in alternatives(node, root):
        if isinstance(part, int):
            fixed = place.get("prefixItems", ())
            found = fixed[part] if part < len(fixed) else place.get("items")
        else:
            found = place.get("properties", {}).get(part, place.get("additionalProperties"))
        if isinstance(found, Mapping):
            return found
    return None


def descend(path: Path, root: Node) -> Node | None:
    """Find the node at `path`, or None."""
    node: Node | None = root
    for part in path:
        node = None if node is None else child(node, part, root)
    return node


def keys_of(node: Node, root: Node) -> list[str]:
    """List the keys that a group has in the schema, in its order."""
    return [key for place in alternatives(node, root) for key in place.get("properties", ())]


def all_paths(node: Node, root: Node, prefix: Path = ()) -> Iterator[Path]:
    """Walk every key of the schema, groups before their members."""
    for place in alternatives(node, root):
        for key, below in place.get("properties", {}).items():
            yield (*prefix, key)
            yield from all_paths(below, root, (*prefix, key))


def describe(node: Node, root: Node) -> str:
    """Say in words what is allowed at a node: `a number > 0 and <= 1`, `one of adam, sgd`."""
    words = [_describe_one(place, root) for place in alternatives(node, root)]
    return " or ".join(dict.fromkeys(words))


def _describe_one(node: Node, root: Node) -> str:
    if "enum" in node or "const" in node:
        values = [str(value) for value in node.get("enum", [node.get("const")])]
        return values[0] if len(values) == 1 else "one of " + ", ".join(values)
    kind = node.get("type")
    if kind == "array":
        return _describe_list(node, root)
    if kind == "object":
        keys = keys_of(node, root)
        return "a group with the keys " + ", ".join(keys) if keys else "a mapping"
    if kind == "string":
        return _describe_text(node)
    bounds = [text.format(node[name]) for name, text in _BOUNDS.items() if name in node]
    return f"{_NOUNS.get(str(kind), 'a value')} {' and '.join(bounds)}".strip()


def _describe_text(node: Node) -> str:
    if "pattern" in node:
        return str(node.get("description", f"text that matches {node['pattern']}"))
    return "non-empty text" if node.get("minLength") else "text"


def _describe_list(node: Node, root: Node) -> str:
    fixed = node.get("prefixItems")
    if fixed is not None:
        return f"a list of {len(fixed)}: [{', '.join(describe(item, root) for item in fixed)}]"
    low, high = node.get("minItems", 0), node.get("maxItems")
    length = f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
    return f"a list of {length}, each {describe(node.get('items', {}), root)}"
