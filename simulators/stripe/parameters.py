"""Take named, typed parameters out of a nested form; what is left over at the end is unknown and refused."""

import re
from collections.abc import Mapping, Sequence

from simulators.stripe.errors import ApiError, invalid, missing_parameter, unknown_parameters

INTEGER = re.compile(r"-?[0-9]{1,18}\Z")


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
