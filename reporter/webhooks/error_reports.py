"""Turns Stripe's asynchronous error reports into rejections for the ledger. Pure.

A report counts all events that failed in a validation window, but names only a sample. A sample names the identifier of the event or the
idempotency key of the request. The key of a single event is its identifier (`reporter.sending.lanes.idempotency_key`); the key of a request
with many events is looked up.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from metering.records.ledger_records import REJECTION_IDENTIFIERS_MAX, REPORTS_PARTITION, SETTLEMENT_DETAIL_CHARS_MAX, Rejection

# stripe-python 16.1, events/_v1_billing_meter_error_report_triggered_event.py, and Stripe's documentation for the last but one. Stripe may add more.
CODES: Final = (
    "archived_meter",
    "meter_event_customer_not_found",
    "meter_event_dimension_count_too_high",
    "meter_event_invalid_value",
    "meter_event_no_customer_defined",
    "meter_event_value_too_many_digits",
    "missing_dimension_payload_keys",
    "no_meter",
    "timestamp_in_future",
    "timestamp_too_far_in_past",
    "meter_event_value_not_found",
)
UNREADABLE: Final = "unreadable"  # not Stripe's: the report cannot be understood
OTHER_CODE: Final = "other"

TEST_PREFIX: Final = "taximeter-test-"
_OURS: Final = re.compile(r"(tm-[0-9A-Za-z]+-([0-9]{1,6})-(?:[0-9]+-[0-9]+-[0-9]+|c[0-9]+))(?:\.[0-9]+)?", re.ASCII)
_COUNT_MAX: Final = 10**15
_CODES_MAX: Final = 100
_SAMPLES_MAX: Final = 10_000
_NAME_CHARS_MAX: Final = 255

IdentifiersOf = Callable[[str], tuple[str, ...]]
"""The identifiers of the events in the request with this idempotency key; none if it is not known."""


@dataclass(slots=True)
class _Share:
    """The errors of one code that belong to one partition."""

    count: int = 0
    message: str = ""
    identifiers: dict[str, None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReader:
    """Turns reports into rejections. `partitions` is the number of partitions of the topics; `instance` is named in the ledger as the writer."""

    partitions: int
    instance: str
    identifiers_of: IdentifiersOf

    def rejections(self, document: Mapping[str, Any], *, meter: str, at_ms: int) -> list[Rejection]:
        """One rejection for each code and partition; their counts add up to the report's count, if it gives one: errors beyond those of
        the codes are `unreadable`. `meter` is the meter's event name, or "".

        Errors that cannot be traced to identifiers of this installation go to partition 0, without identifiers. Never raises, and returns at
        least one rejection: a report that cannot be read becomes one as well.
        """
        data = _mapping(document.get("data"))
        about = Rejection(
            partition=REPORTS_PARTITION,
            instance=self.instance,
            event_id=_text(document.get("id"), _NAME_CHARS_MAX),
            meter=_text(meter, _NAME_CHARS_MAX),
            code=UNREADABLE,
            message=_text(data.get("developer_message_summary"), SETTLEMENT_DETAIL_CHARS_MAX) or "the report names no errors",
            error_count=max(1, _count(_mapping(data.get("reason")).get("error_count"))),
            identifiers=(),
            window_start_ms=_time_ms(data.get("validation_start")),
            window_end_ms=_time_ms(data.get("validation_end")),
            at_ms=at_ms,
        )
        by_code = [rejection for error in _error_types(data) for rejection in self._of_code(about, error)]
        left = about.error_count - sum(rejection.error_count for rejection in by_code)
        return [*by_code, replace(about, error_count=left)] if left > 0 else by_code

    def _of_code(self, about: Rejection, error: Mapping[str, Any]) -> Iterator[Rejection]:
        code = _text(error.get("code"), _NAME_CHARS_MAX) or UNREADABLE
        samples = _samples(error)
        # Naming it as refused would invite somebody to send it again.
        shares = {} if is_duplicate(code) else self._shares(samples)
        named = sum(share.count for share in shares.values())
        total = max(_count(error.get("error_count")), len(samples), 1)
        if total > named or not shares:
            rest = shares.setdefault(REPORTS_PARTITION, _Share(message=_message(samples) or about.message))
            rest.count += total - named
        for partition, share in sorted(shares.items()):
            yield Rejection(
                partition=partition,
                instance=about.instance,
                event_id=about.event_id,
                meter=about.meter,
                code=code,
                message=share.message[:SETTLEMENT_DETAIL_CHARS_MAX],
                error_count=share.count,
                identifiers=tuple(share.identifiers)[:REJECTION_IDENTIFIERS_MAX],
                window_start_ms=about.window_start_ms,
                window_end_ms=about.window_end_ms,
                at_ms=about.at_ms,
            )

    def _shares(self, samples: Sequence[tuple[str, str]]) -> dict[int, _Share]:
        """The samples with identifiers of this installation, by partition.

        If only some events of a request failed, the message of partition 0 names the request.
        """
        shares: dict[int, _Share] = {}
        messages = dict(reversed(samples))
        for name, count in Counter(name for name, _ in samples).items():
            own = self._own(name)
            found = {own[0]: own[1]} if own is not None else self._request(name)
            if not found:
                continue
            if own is None and count < len(found):
                # The report does not say which events failed. Naming an accepted one would invite somebody to send it again.
                share = shares.setdefault(
                    REPORTS_PARTITION, _Share(message=f"{messages[name]} (one of a request of {len(found)}: {', '.join(found)})")
                )
                share.count += count
                continue
            for number, (identifier, partition) in enumerate(found.items()):
                share = shares.setdefault(partition, _Share(message=messages[name]))
                share.identifiers[identifier] = None
                share.count += count - len(found) + 1 if number == 0 else 1
        return shares

    def _own(self, name: str) -> tuple[str, int] | None:
        """The identifier in a name that this installation made, and its partition; None for other names."""
        if name.startswith(TEST_PREFIX):
            return name, 0
        match = _OURS.fullmatch(name)
        if match is None or int(match[2]) >= self.partitions:
            return None
        return match[1], int(match[2])

    def _request(self, key: str) -> dict[str, int]:
        """The identifiers in a request with many events, each with its partition."""
        found = (self._own(identifier) for identifier in self.identifiers_of(key))
        return dict(own for own in found if own is not None)


def is_duplicate(code: str) -> bool:
    """Whether Stripe refused a meter event because it has it already."""
    return "duplicate" in code


def label_of(code: str) -> str:
    """The code as a label of the metrics: one of CODES or OTHER_CODE."""
    return code if code in CODES else OTHER_CODE


def _error_types(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    errors = _mapping(data.get("reason")).get("error_types")
    return [error for error in errors[:_CODES_MAX] if isinstance(error, Mapping)] if isinstance(errors, list) else []


def _samples(error: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The name in each sample ("" if there is none), and its message."""
    samples = error.get("sample_errors")
    found = []
    for sample in samples[:_SAMPLES_MAX] if isinstance(samples, list) else ():
        request = _mapping(_mapping(sample).get("request"))
        # The reference has `identifier`; one example in the documentation has `idempotency_key`.
        name = _text(request.get("identifier"), _NAME_CHARS_MAX) or _text(request.get("idempotency_key"), _NAME_CHARS_MAX)
        found.append((name, _text(_mapping(sample).get("error_message"), SETTLEMENT_DETAIL_CHARS_MAX)))
    return found


def _message(samples: Sequence[tuple[str, str]]) -> str:
    return samples[0][1] if samples else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: object, chars_max: int) -> str:
    """A text that every JSON encoder takes: half a surrogate pair is legal in JSON, but not in UTF-8."""
    return value[:chars_max].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _count(value: object) -> int:
    """A count; version 2 of the API may write integers as text."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,15}", value, re.ASCII):
        return int(value)
    return min(value, _COUNT_MAX) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _time_ms(value: object) -> int:
    """Milliseconds of an RFC 3339 text; 0 if the value is not one."""
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000) if isinstance(value, str) else 0
    except (ValueError, OverflowError):
        return 0
