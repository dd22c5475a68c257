"""docs/openapi.yaml, read once, and what is wrong with an answer by it."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urljoin

import orjson
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from ruamel.yaml import YAML

from tests.support.repository import ROOT

PAGE: Final = ROOT / "docs/openapi.yaml"
_URI: Final = PAGE.as_uri()


@cache
def document() -> Any:
    return YAML(typ="safe").load(PAGE.read_text())


def _retrieve(uri: str) -> Resource[Any]:
    """A schema that the document refers to; its references are those of a file beside it."""
    assert uri.startswith(PAGE.parent.as_uri())
    return DRAFT202012.create_resource(orjson.loads((ROOT / uri.removeprefix(f"{ROOT.as_uri()}/")).read_bytes()))


@cache
def _registry() -> Any:
    # An attrs class whose fields have leading underscores and other names as arguments, which mypy does not see.
    return Registry(retrieve=_retrieve).with_resource(_URI, DRAFT202012.create_resource(document()))  # type: ignore[call-arg]


@cache
def official_schema() -> Any:
    """The schema of OpenAPI 3.1 documents of the OpenAPI Initiative (2022-10-07, Apache License 2.0)."""
    return orjson.loads((ROOT / "tests/support/openapi-3.1.schema.json").read_bytes())


def resolved(found: Any) -> Any:
    """What a reference within the document stands for; anything else as it is."""
    while "$ref" in found:
        path = found["$ref"].removeprefix("#/").split("/")
        found = document()
        for name in path:
            found = found[name]
    return found


def response_of(path: str, method: str, status: int) -> Any:
    return resolved(document()["paths"][path][method]["responses"][str(status)])


def schema_faults(schema: Any, body: Any) -> list[str]:
    """What is wrong with a decoded body by a schema in the document."""
    anchored = _anchored(schema)
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(anchored, registry=_registry()).iter_errors(body)]


def _anchored(found: Any) -> Any:
    """The schema with references that say which file they are in."""
    if isinstance(found, dict):
        return {name: urljoin(_URI, inner) if name == "$ref" else _anchored(inner) for name, inner in found.items()}
    return [_anchored(inner) for inner in found] if isinstance(found, list) else found


def answer_faults(path: str, method: str, status: int, headers: Mapping[str, str], body: bytes) -> list[str]:
    """What is wrong with an answer by the document: an unknown status, a missing header, another type or another body."""
    if str(status) not in document()["paths"][path][method]["responses"]:
        return [f"{method} {path} does not answer {status}"]
    response = response_of(path, method, status)
    found = []
    for name, header in response.get("headers", {}).items():
        value: Any = headers.get(name)
        schema = resolved(header)["schema"]
        found += [f"{name}: {fault}" for fault in schema_faults(schema, int(value) if schema.get("type") == "integer" and value else value)]
    content = response["content"]
    media_type = headers["Content-Type"].partition(";")[0]
    if media_type not in content:
        return [*found, f"{media_type} is not one of {list(content)}"]
    decoded = orjson.loads(body) if media_type == "application/json" else body.decode()
    return found + schema_faults(content[media_type]["schema"], decoded)
