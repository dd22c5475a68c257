"""Calls of models, each metered once: whole responses, and streams however they end."""

import logging
import os
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Protocol, get_args

from taximeter_emitter.clock import Clock, SystemClock
from taximeter_emitter.integrations.usage.running_usage import RunningUsage, UsageFrom
from taximeter_emitter.integrations.usage.token_counts import check_split, fields_of_split, split_usage
from taximeter_emitter.logs.message_limiter import MessageLimiter

CallOutcome = Literal["ok", "aborted", "error", "cache_hit"]
WhenAborted = Literal["delivered", "ignore"]
_LOG: Final = logging.getLogger("taximeter.emitter")
_CUSTOMER: Final[ContextVar[str | None]] = ContextVar("taximeter_customer", default=None)
_SAID_AGAIN_SECONDS: Final = 60.0
_INTERRUPTIONS: Final = ("GeneratorExit", "CancelledError", "KeyboardInterrupt", "ClientDisconnect")


class EventSink(Protocol):
    """What takes events: an Emitter."""

    def emit(self, *, customer: str, usage: Mapping[str, int], dimensions: Mapping[str, str] | None = None, event_id: str | None = None) -> bool:
        """Whether the event was taken; never raises."""
        ...


@dataclass(slots=True)
class CallCounts:
    """Calls. `emitted` and `refused`: their events, by what `emit` said. `inconsistent`: the provider's numbers contradict each other, and nothing
    was split off. `without_usage`: they ended, and the provider said nothing; what was delivered is emitted as an estimate.
    `without_customer`: nobody said who pays, and nothing was emitted. `unreadable`: a part of a response was too large, compressed or no JSON.
    """

    emitted: int = 0
    refused: int = 0
    inconsistent: int = 0
    without_usage: int = 0
    without_customer: int = 0
    unreadable: int = 0


class ModelCalls:
    """Meters calls of models by an emitter. Any thread may use it; nothing here blocks, or raises into the caller's call.

    `split`: parts of tokens that get fields of their own: "cached", "cache_write", "cache_write_1h", "reasoning", "audio", "image". A part
    that is not named stays in input_tokens or output_tokens.
    `aborted`: what a call that did not end counts: "delivered", or "ignore".
    `count_requests`: whether each call also counts `requests`, 1; then failed calls and cache hits have events, too.
    `dimensions`: of all events, beside model, outcome and usage_from.

    Raises ValueError for a split that is unknown or overlaps.
    """

    def __init__(
        self,
        emitter: EventSink,
        *,
        split: Iterable[str] = (),
        aborted: WhenAborted = "delivered",
        count_requests: bool = False,
        dimensions: Mapping[str, str] | None = None,
        clock: Clock | None = None,
    ) -> None:
        if aborted not in get_args(WhenAborted):
            raise ValueError('aborted is "delivered" or "ignore"')
        self.counts = CallCounts()
        self._emitter = emitter
        self._split = check_split(split)
        self._aborted = aborted
        self._count_requests = count_requests
        self._dimensions = dict(dimensions or {})
        self._messages = MessageLimiter(clock or SystemClock(), interval_seconds=_SAID_AGAIN_SECONDS)

    @property
    def usage_fields(self) -> frozenset[str]:
        """The token fields that this split emits. One that no meter sums is revenue lost: compare them with the meters."""
        return frozenset({"input_tokens", "output_tokens"}) | fields_of_split(self._split)

    def call(
        self,
        customer: str | None = None,
        *,
        model: str = "",
        dimensions: Mapping[str, str] | None = None,
        otherwise: str | None = None,
        event_id: str | None = None,
    ) -> "ModelCall":
        """One call about to be made. Without a customer, the one of the surrounding `customer` block pays, and `otherwise` if there is none.

        `model`: counts if the response names none. `event_id`: only where a call may be reported twice; never one that the
        customer can choose.
        """
        return ModelCall(_OpenCall(self, customer or _CUSTOMER.get() or otherwise, model, dict(dimensions or {}), event_id))

    def record(self, response: object, *, customer: str | None = None, model: str = "", dimensions: Mapping[str, str] | None = None) -> bool:
        """Meter one whole response, of any known provider, as an object or as JSON; whether an event was taken."""
        call = self.call(customer, model=model, dimensions=dimensions)
        call.saw(response)
        return call.settle()

    @contextmanager
    def customer(self, customer: str) -> Iterator[None]:
        """Calls that are made within, in this thread or task, are this customer's."""
        token = _CUSTOMER.set(customer)
        try:
            yield
        finally:
            _CUSTOMER.reset(token)

    def note_unreadable(self, what: str) -> None:
        """Count a response that cannot be read, in whole or in part."""
        self.counts.unreadable += 1
        self._say("unreadable", f"a response cannot be metered: {what}")

    def settle(self, call: "_OpenCall", outcome: CallOutcome) -> bool:
        """Emit the event of a call that ended. Used by calls, once each."""
        running = call.running
        usage, usage_from = self._usage_of(running, outcome)
        if self._count_requests:
            usage["requests"] = 1
        if not usage:
            return False
        if not call.customer:
            self.counts.without_customer += 1
            self._say("without_customer", "a call has no customer, and is billed to nobody; give one, or use `with calls.customer(...)`")
            return False
        told = {"model": running.model or call.model, "outcome": outcome, "usage_from": usage_from}
        dimensions = self._dimensions | call.dimensions | {name: value for name, value in told.items() if value}
        is_taken = self._emitter.emit(customer=call.customer, usage=usage, dimensions=dimensions, event_id=call.event_id)
        self.counts.emitted += is_taken
        self.counts.refused += not is_taken
        return is_taken

    def _usage_of(self, running: RunningUsage, outcome: CallOutcome) -> tuple[dict[str, int], UsageFrom | None]:
        counts = running.counts
        is_exact = running.is_final and not running.is_estimate
        if outcome == "cache_hit" or (not is_exact and outcome != "ok" and self._aborted == "ignore"):
            return {}, None
        if not counts.are_consistent:
            self.counts.inconsistent += 1
            self._say("inconsistent", f"usage contradicts itself, and nothing is split off it ({', '.join(counts.problems) or 'sums differ'})")
        usage = split_usage(counts, self._split)
        if running.is_final:
            return usage, "estimate" if running.is_estimate else "provider"
        if outcome == "ok":
            self.counts.without_usage += 1
            self._say("without_usage", "a call ended and its response has no usage; what was delivered is counted instead, a token for each chunk")
        if running.delivered > (counts.output or 0):
            # Anthropic says the input at the start, and of the output nothing yet.
            known = {name: quantity for name, quantity in usage.items() if name != "reasoning_tokens"}
            return known | {"output_tokens": running.delivered}, "estimate"
        return usage, "partial" if usage else None

    def _say(self, reason: str, text: str) -> None:
        try:
            left_out = self._messages.admit(reason)
            if left_out is not None:
                _LOG.warning("%s (%d more since the last such message)", text, left_out)
        except Exception:  # a broken filter of the host must not break its request; there is nobody to tell
            return


@dataclass(slots=True)
class _OpenCall:
    """One call as its ModelCall and its finaliser share it: the finaliser must not hold the ModelCall."""

    calls: ModelCalls
    customer: str | None
    model: str
    dimensions: dict[str, str]
    event_id: str | None
    running: RunningUsage = field(default_factory=RunningUsage)
    process: int = field(default_factory=os.getpid)

    def settle(self, outcome: CallOutcome | None) -> bool:
        if os.getpid() != self.process:
            return False  # a forked child has a copy of the call, and its parent settles it
        running = self.running
        if outcome is None:
            outcome = "error" if running.has_failed else "aborted" if running.is_stream and not running.has_ended else "ok"
        return self.calls.settle(self, outcome)


class ModelCall:
    """One call of a model. Its event is emitted once, when the block ends, it is settled, or nothing refers to it any more."""

    def __init__(self, opened: _OpenCall) -> None:
        self._opened = opened
        # At the end of the interpreter, too: a stream may still be open then.
        self._finalizer = weakref.finalize(self, opened.settle, None)

    @property
    def running(self) -> RunningUsage:
        """What was seen so far."""
        return self._opened.running

    def saw(self, seen: object) -> None:
        """Take in a response, a chunk or an event, as an object of its client or as JSON. Never raises; what is unknown changes nothing."""
        try:
            self._opened.running.saw(seen)
        except Exception as error:  # a strange object must not break the caller's stream
            self._opened.calls.note_unreadable(f"{type(error).__name__} when a {type(seen).__name__} was read")

    def settle(self, outcome: CallOutcome | None = None) -> bool:
        """Emit the event now; whether one was taken. Without an outcome, what was seen decides. The second call does nothing."""
        return self._finalizer.detach() is not None and self._opened.settle(outcome)

    def __enter__(self) -> "ModelCall":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None or self.running.is_final:
            self.settle()
        else:
            self.settle("aborted" if kind.__name__ in _INTERRUPTIONS else "error")
