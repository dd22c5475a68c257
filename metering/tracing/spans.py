"""A span: what was done for a request, when, and how it ended. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

from metering.tracing.trace_context import TraceContext

SPAN_LINKS_MAX: Final = 32
"""Of a span. Further ones are counted in it."""

AttributeValue: TypeAlias = str | int | bool | Sequence[str]


class SpanKind(IntEnum):
    """As OTLP numbers them."""

    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSpan:
    """Times in Unix ns. `parent`: the id of the span above it, or empty. `links`: other spans that it worked for. `error`: why it failed, or empty.

    Attributes bear the names of OpenTelemetry's semantic conventions, or begin with `taximeter.`. None has content of a customer.
    """

    name: str
    kind: SpanKind
    context: TraceContext
    start_ns: int
    end_ns: int
    attributes: Mapping[str, AttributeValue]
    parent: str = ""
    links: Sequence[TraceContext] = ()
    error: str = ""
