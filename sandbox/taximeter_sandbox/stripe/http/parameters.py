"""Take named, typed parameters out of a nested form; what is left over at the end is unknown and refused."""

import re
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal

from taximeter_sandbox.stripe.http.errors import ApiError, invalid, missing_parameter, unknown_parameters

INTEGER = re.compile(r"-?[0-9]{1,18}\Z")
DECIMAL = re.compile(r"[0-9]{1,12}(?:\.[0-9]+)?\Z", re.ASCII)
DECIMAL_PLACES_MAX = 12
EXPANSION_LENGTH_MAX = 200


class Parameters:
    """The parameters of one request. Each reader takes its parameter away; `finish` refuses the rest.

    All readers raise ApiError (400, as Stripe words it) for a missing, empty, nested or malformed parameter. `tree` comes from a form
    (every leaf is a string) or from JSON (leaves may be numbers and booleans).
    """

    def __init__(self, tree: Mapping[str, object], prefix: str = "") -> None:
        self._tree = dict(tree)
        self._prefix = prefix

    def _shown(self, name: str) -> str:
        return f"{self._prefix}[{name}]" if self._prefix else name

    def optional_text(self, name: str, *, length_max: int) -> str | None:
        """A non-empty string of at most `length_max` characters, or None when absent."""
        node = self._tree.pop(name, None)
        if node is None:
            return None
        if not isinstance(node, str):
            raise invalid(f"Invalid string: {node}"[:200], self._shown(name))
        if not node:
            raise self._empty(name)
        if len(node) > length_max:
            shown = f"{node[:8]}...{node[-8:]}"
            raise invalid(f"Invalid string: {shown}; must be at most {length_max} characters", self._shown(name))
        return node

    def text(self, name: str, *, length_max: int) -> str:
        """A required string."""
        value = self.optional_text(name, length_max=length_max)
        if value is None:
            raise missing_parameter(self._shown(name))
        return value

    def optional_integer(self, name: str) -> int | None:
        """A decimal integer, or None when absent."""
        text = self.optional_text(name, length_max=100)
        if text is None:
            return None
        if not INTEGER.match(text):
            raise invalid(f"Invalid integer: {text}", self._shown(name), "parameter_invalid_integer")
        return int(text)

    def integer(self, name: str) -> int:
        """A required decimal integer."""
        value = self.optional_integer(name)
        if value is None:
            raise missing_parameter(self._shown(name))
        return value

    def optional_decimal(self, name: str) -> Decimal | None:
        """A non-negative decimal with at most 12 decimal places, or None when absent."""
        text = self.optional_text(name, length_max=100)
        if text is None:
            return None
        if not DECIMAL.match(text):
            raise invalid(f"Invalid decimal: {text}; must be a decimal number of at least 0", self._shown(name))
        if len(text.partition(".")[2].rstrip("0")) > DECIMAL_PLACES_MAX:
            raise invalid(f"Invalid decimal: {text}; must contain at maximum {DECIMAL_PLACES_MAX} decimal places.", self._shown(name))
        return Decimal(text)

    def optional_flag(self, name: str) -> bool | None:
        """`true` or `false`, or None when absent."""
        text = self.optional_text(name, length_max=100)
        if text not in (None, "true", "false"):
            raise invalid(f"Invalid boolean: {text}", self._shown(name))
        return None if text is None else text == "true"

    def clearable_text(self, name: str, *, length_max: int) -> str | None:
        """A string as `optional_text` takes it, or an empty one, which asks to unset what is there."""
        return "" if self.takes_empty(name) else self.optional_text(name, length_max=length_max)

    def takes_empty(self, name: str) -> bool:
        """Whether the parameter is there and empty; then it is taken away."""
        empty = self._tree.get(name) == ""
        if empty:
            del self._tree[name]
        return empty

    def optional_choice(self, name: str, choices: Sequence[str]) -> str | None:
        """One of `choices`, or None when absent."""
        text = self.optional_text(name, length_max=5000)
        if text is not None and text not in choices:
            listed = " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
            raise invalid(f"Invalid {self._shown(name)}: must be one of {listed}", self._shown(name))
        return text

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """A required choice."""
        value = self.optional_choice(name, choices)
        if value is None:
            raise missing_parameter(self._shown(name))
        return value

    def optional_group(self, name: str) -> "Parameters | None":
        """A hash such as `cancel[identifier]`, or None when absent. The caller must `finish` it."""
        node = self._tree.pop(name, None)
        if node is None:
            return None
        if not isinstance(node, dict):
            raise invalid("Invalid hash", self._shown(name))
        return Parameters(node, self._shown(name))

    def group(self, name: str) -> "Parameters":
        """A required hash."""
        value = self.optional_group(name)
        if value is None:
            raise missing_parameter(self._shown(name))
        return value

    def texts(self, name: str, *, count_max: int, length_max: int) -> list[str] | None:
        """A list of strings such as `ids[0]`, in the order of its numbers, or None when absent."""
        elements = self._elements(name, count_max)
        if elements is None:
            return None
        found: list[str] = []
        for number, node in elements:
            if not isinstance(node, str) or not 0 < len(node) <= length_max:
                raise invalid(f"Invalid string: must have 1 to {length_max} characters", f"{self._shown(name)}[{number}]")
            found.append(node)
        return found

    def optional_groups(self, name: str, *, count_max: int) -> "list[Parameters] | None":
        """A list of hashes such as `items[0][price]`, in the order of its numbers, or None when absent. Each must be `finish`ed."""
        elements = self._elements(name, count_max)
        if elements is None:
            return None
        found: list[Parameters] = []
        for number, node in elements:
            shown = f"{self._shown(name)}[{number}]"
            if not isinstance(node, dict):
                raise invalid("Invalid hash", shown)
            found.append(Parameters(node, shown))
        return found

    def _elements(self, name: str, count_max: int) -> list[tuple[int, object]] | None:
        node = self._tree.pop(name, None)
        if node is None:
            return None
        elements: list[tuple[int, object]]
        if isinstance(node, list):
            elements = list(enumerate(node))
        elif isinstance(node, dict) and all(key.isdecimal() and len(key) <= 4 for key in node):
            elements = sorted(((int(key), item) for key, item in node.items()), key=lambda element: element[0])
        else:
            raise invalid("Invalid array", self._shown(name))
        if len(elements) > count_max:
            raise invalid(f"Too many elements: at most {count_max} are allowed", self._shown(name))
        return elements

    def expansions(self, allowed: Collection[str]) -> frozenset[str]:
        """What `expand` asks for; each must be among `allowed`."""
        wanted = self.texts("expand", count_max=20, length_max=EXPANSION_LENGTH_MAX) or []
        for item in wanted:
            if item not in allowed:
                raise invalid(f"This property cannot be expanded ({item}).", "expand")
        return frozenset(wanted)

    def groups(self, name: str, *, count_max: int) -> "list[Parameters]":
        """A required list of hashes, at most `count_max` of them. The caller must `finish` each."""
        node = self._tree.pop(name, None)
        if node is None:
            raise missing_parameter(self._shown(name))
        if not isinstance(node, list):
            raise invalid("Invalid array", self._shown(name))
        if len(node) > count_max:
            raise invalid(f"{self._shown(name)} can have at most {count_max} items.", self._shown(name), "too_many_items")
        if not all(isinstance(item, dict) for item in node):
            raise invalid("Invalid hash", self._shown(name))
        return [Parameters(item, f"{self._shown(name)}[{position}]") for position, item in enumerate(node)]

    def count(self, name: str) -> int:
        """How many items a list has; 1 where there is no list. The parameter stays."""
        node = self._tree.get(name)
        return len(node) if isinstance(node, list) else 1

    def text_map(self, name: str) -> dict[str, str] | None:
        """A flat hash of strings (metadata, payload), or None when absent. Values may be empty."""
        node = self._tree.pop(name, None)
        if node is None:
            return None
        if not isinstance(node, dict):
            raise invalid("Invalid hash", self._shown(name))
        flat: dict[str, str] = {}
        for key, value in node.items():
            if not isinstance(value, str):
                raise invalid(f"Invalid string: {value}"[:200], f"{self._shown(name)}[{key}]")
            flat[key] = value
        return flat

    def finish(self) -> None:
        """Refuse `expand` (nothing here can be expanded) and every parameter that nobody took."""
        expand = self._tree.pop("expand", None)
        if self._tree:
            raise unknown_parameters([self._shown(name) for name in self._tree])
        if expand:
            first = expand[0] if isinstance(expand, list) else str(expand)
            raise invalid(f"This property cannot be expanded ({first}).", "expand")

    def _empty(self, name: str) -> ApiError:
        shown = self._shown(name)
        return invalid(
            f"You passed an empty string for '{shown}'. We assume empty values are an attempt to unset a parameter; however '{shown}' "
            f"cannot be unset. You should remove '{shown}' from your request or supply a non-empty value.",
            shown,
            "parameter_invalid_empty",
        )
