"""The columns of what is exported, by dataset. Types are Arrow's; times are UTC. Integers are exact."""

from collections.abc import Mapping
from typing import Final

TIME: Final = "timestamp"
"""Milliseconds in UTC."""

DATASETS: Final[Mapping[str, Mapping[str, str]]] = {
    "tallies": {
        "partition": "int32",
        "offset": "int64",
        "row": "int32",
        "log_time": TIME,
        "customer": "string",
        "meter": "string",
        "dimensions": "string",
        "minute": TIME,
        "quantity": "int64",
        "events": "int64",
        "plan": "string",
        "plan_kind": "string",
        "plan_by": "string",
        "plan_reason": "string",
    },
    "ledger": {
        "partition": "int32",
        "offset": "int64",
        "row": "int32",
        "log_time": TIME,
        "kind": "string",
        "identifier": "string",
        "target": "string",
        "customer": "string",
        "billed": "string",
        "meter": "string",
        "dimensions": "string",
        "time": TIME,
        "value": "int64",
    },
    "outcomes": {
        "partition": "int32",
        "offset": "int64",
        "row": "int32",
        "log_time": TIME,
        "identifier": "string",
        "outcome": "string",
        "detail": "string",
        "at": TIME,
    },
    "events": {
        "partition": "int32",
        "offset": "int64",
        "row": "int32",
        "log_time": TIME,
        "time": TIME,
        "customer": "string",
        "source": "string",
        "id": "string",
        "fingerprint": "string",
        "emitter": "string",
        "number": "int64",
        "dimensions": "string",
        "usage": "string",
        "outcome": "string",
    },
}

WHAT: Final[Mapping[str, tuple[str, ...]]] = {"tallies": ("tallies",), "ledger": ("ledger", "outcomes"), "events": ("events",)}
"""What can be asked for, and the datasets that it becomes."""
