"""The schemas of docs/schemas, read once, and what is wrong with a document by one of them."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import orjson
from jsonschema import Draft202012Validator

from tests.support.repository import ROOT

SCHEMAS: Final = ROOT / "docs/schemas"
_SUFFIX: Final = ".schema.json"

NAMES: Final = sorted(str(path.relative_to(SCHEMAS)).removesuffix(_SUFFIX) for path in SCHEMAS.glob(f"*/*{_SUFFIX}"))
"""`usage.events/batch` and the others."""


@cache
def schema(name: str) -> Any:
    return orjson.loads((SCHEMAS / f"{name}{_SUFFIX}").read_bytes())


@cache
def _validator(name: str) -> Any:
    Draft202012Validator.check_schema(schema(name))
    return Draft202012Validator(schema(name))


def faults(name: str, document: Any) -> list[str]:
    """What is wrong with a decoded document by this schema."""
    return [f"{error.json_path}: {error.message}" for error in _validator(name).iter_errors(document)]


def examples(name: str) -> dict[str, Any]:
    """The documents in the folder of examples, by the names of their files: `batch.lists.json` is one of `batch`."""
    topic, _, kind = name.partition("/")
    return {path.name: orjson.loads(path.read_bytes()) for path in sorted((SCHEMAS / topic / "examples").glob(f"{kind}.*.json"))}


def subschemas(found: Any, name: str = "", *, conditions: bool = True) -> Iterator[tuple[str, Any]]:
    """Each schema within a schema, itself included, with the name of the field or definition that it belongs to.

    `conditions`: also what holds only if something else does.
    """
    yield name, found
    inner = [(field, schema) for keyword in ("properties", "$defs") for field, schema in found.get(keyword, {}).items()]
    inner += [(name, found.get(keyword)) for keyword in ("items", "additionalProperties", "propertyNames")]
    inner += [(name, found.get(keyword)) for keyword in ("if", "then", "else") if conditions]
    inner += [(name, schema) for keyword in ("prefixItems", "oneOf") for schema in found.get(keyword, ())]
    for field, schema in inner:
        if type(schema) is dict:
            yield from subschemas(schema, field, conditions=conditions)
