"""Decode `application/x-www-form-urlencoded` bodies and query strings into nested parameters, as Stripe does.

`payload[value]=25&expand[]=data` becomes `{"payload": {"value": "25"}, "expand": ["data"]}`. Every leaf is a string. A list of
hashes is a hash with numbers for names: `items[0][price]=a` and `items[][price]=a` both become `{"items": {"0": {"price": "a"}}}`.
"""

from typing import TypeAlias
from urllib.parse import parse_qsl

from taximeter_sandbox.stripe.http.errors import invalid

FIELDS_MAX = 500
DEPTH_MAX = 5

Tree: TypeAlias = dict[str, "Node"]
Node: TypeAlias = "str | list[str] | Tree"
Pairs: TypeAlias = list[tuple[str, str]]


def parse_pairs(text: str) -> Pairs:
    """The fields in order, percent-decoded. Raises ApiError for bad UTF-8 or more than FIELDS_MAX fields."""
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except UnicodeDecodeError:
        raise invalid("Invalid UTF-8 in the request's parameters.") from None
    except ValueError:
        raise invalid(f"Too many parameters: at most {FIELDS_MAX} are allowed.") from None


def nest(pairs: Pairs) -> Tree:
    """Nested parameters from flat fields. Raises ApiError for malformed, conflicting or deeper than DEPTH_MAX names."""
    tree: Tree = {}
    for name, value in pairs:
        if "[" not in name:
            tree[name] = value
        else:
            _place(tree, name, value)
    return tree


def _place(tree: Tree, name: str, value: str) -> None:
    first, _, rest = name.partition("[")
    if not first or not rest.endswith("]"):
        raise invalid(f"Invalid parameter name: {name[:100]}")
    path = [first, *rest[:-1].split("][")]
    if len(path) > DEPTH_MAX:
        raise invalid(f"Parameters are nested too deeply: {first}", first)
    leaf = path.pop()
    if leaf == "" or (leaf.isdigit() and path == ["expand"]):
        _append(tree, path, value)
        return
    node = _descend(tree, path, leaf)
    node[leaf] = value


def _descend(tree: Tree, path: list[str], leaf: str = "") -> Tree:
    for depth, given in enumerate(path):
        part = given or _element(tree, [*path[depth + 1 :], leaf])
        child = tree.setdefault(part, {})
        if not isinstance(child, dict):
            shown = path[0] + "".join(f"[{inner}]" for inner in path[1 : depth + 1])
            raise invalid(f"Invalid hash: {shown}", shown)
        tree = child
    return tree


def _element(tree: Tree, rest: list[str]) -> str:
    """Which element of a list `[]` means: the last one, or a new one when the last has the field that follows already."""
    if not tree:
        return "0"
    node = tree.get(str(len(tree) - 1), "")
    for part in rest:
        if not isinstance(node, dict) or part not in node:
            return str(len(tree) - 1)
        node = node[part]
    return str(len(tree))


def _append(tree: Tree, path: list[str], value: str) -> None:
    *parents, name = path
    items = _descend(tree, parents).setdefault(name, [])
    if not isinstance(items, list):
        raise invalid(f"Invalid array: {name}", name)
    items.append(value)
