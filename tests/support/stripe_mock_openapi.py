"""Stripe's OpenAPI document: which operation a call is, what its parameters are, whether a reply is as it says, which fields need not be there."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jsonschema import Draft4Validator
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.jsonschema import DRAFT4

ADDRESS = "urn:stripe"
SCHEMAS = "#/components/schemas/"
# Of earlier versions of the API: Stripe's fixtures have them, as its replies do, and the document has not.
FIXTURE_FIELDS = {"product": ("type",), "subscription_item": ("plan",), "recurring": ("trial_period_days",)}


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, such as `GET /v1/prices/{price}`."""

    name: str
    reply: Mapping[str, Any]
    parameters: Mapping[str, Any]


class Document:
    """The document, read as JSON."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        schemas: dict[str, Any] = dict(document["components"]["schemas"])
        for name, fields in FIXTURE_FIELDS.items():
            schemas[name] = {**schemas[name], "properties": {**schemas[name]["properties"], **{each: {} for each in fields}}}
        self._schemas: Mapping[str, Any] = schemas
        self._paths = [(re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path, verbs) for path, verbs in document["paths"].items()]

    def operation(self, method: str, path: str) -> Operation | None:
        """What Stripe documents under this method and path; a path without parameters goes before one with."""
        matching = [(shown, verbs[method.lower()]) for form, shown, verbs in self._paths if form.fullmatch(path) and method.lower() in verbs]
        if not matching:
            return None
        shown, found = min(matching, key=lambda each: each[0].count("{"))
        reply = found["responses"]["200"]["content"]["application/json"]["schema"]
        return Operation(f"{method.upper()} {shown}", reply, _parameters(found))

    def objections(self, operation: Operation, reply: Any) -> list[str]:
        """Where a reply is not as the document says, and how. A field that the document does not have is an objection, too."""
        validator = Draft4Validator(_translated(operation.reply), registry=self._registry)
        return sorted({_words(error) for error in validator.iter_errors(reply)})

    def optional_places(self, operation: Operation, reply: Any) -> set[tuple[str, ...]]:
        """Paths of fields in this reply that the document does not mark as required; `*` is every element of a list."""
        return set(self._optional(operation.reply, reply, ()))

    @cached_property
    def _registry(self) -> "Registry[Any]":
        contents = {"components": {"schemas": {name: _translated(schema) for name, schema in self._schemas.items()}}}
        empty: Registry[Any] = Registry()
        found: Registry[Any] = empty.with_resource(ADDRESS, DRAFT4.create_resource(contents))
        return found

    def _optional(self, schema: Mapping[str, Any], value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].removeprefix(SCHEMAS)]
        for alternative in schema.get("anyOf", ()):
            yield from self._optional(alternative, value, path)
        if isinstance(value, list) and "items" in schema:
            for element in value:
                yield from self._optional(schema["items"], element, (*path, "*"))
        elif isinstance(value, dict):
            for name, inner in schema.get("properties", {}).items():
                if name in value:
                    if name not in schema.get("required", ()):
                        yield *path, name
                    yield from self._optional(inner, value[name], (*path, name))


def _words(error: ValidationError) -> str:
    """Of alternatives, what the likeliest of them objects to; `*` is an element of a list."""
    error = best_match([error])
    place = ".".join("*" if isinstance(part, int) else str(part) for part in error.absolute_path)
    return f"{place or 'the reply'}: {error.message[:200]}"


def names_of(parameters: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether the document has a parameter of this path of names; `*` is an element of a list."""
    if not names:
        return True
    first, *rest = names
    alternatives = parameters.get("anyOf", ())
    if any(names_of(alternative, names) for alternative in alternatives):
        return True
    if first == "*":
        return "items" in parameters and names_of(parameters["items"], tuple(rest))
    properties = parameters.get("properties", {})
    if first in properties:
        return names_of(properties[first], tuple(rest))
    # A map, such as metadata: any name.
    return bool(parameters.get("additionalProperties"))


def _parameters(operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parameters of a query and of a form, as one object's schema."""
    found = {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}
    for kind in operation.get("requestBody", {}).get("content", {}).values():
        found |= kind["schema"].get("properties", {})
    return {"properties": found}


def _translated(schema: Any) -> Any:
    """From OpenAPI 3.0 to JSON Schema: `nullable` becomes an alternative, references get an address, objects have no other fields than theirs."""
    if isinstance(schema, list):
        return [_translated(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        found: dict[str, Any] = {"$ref": f"{ADDRESS}{schema['$ref']}"}
    else:
        found = {name: _translated(value) for name, value in schema.items() if name in _KEYWORDS}
        for name in ("properties",):
            if name in schema:
                found[name] = {field: _translated(inner) for field, inner in schema[name].items()}
        if schema.get("properties") and "additionalProperties" not in schema:
            found["additionalProperties"] = False
        # An enumeration that Stripe may extend at any time.
        if schema.get("x-stripeBypassValidation"):
            found.pop("enum", None)
    return {"anyOf": [found, {"type": "null"}]} if schema.get("nullable") else found


_KEYWORDS = frozenset({"type", "enum", "items", "anyOf", "required", "additionalProperties", "maxLength", "pattern", "maximum", "minimum"})
