"""What Stripe says about events that it took with 200 and dropped: one thin event per meter and validation window, counts and a sample.

Windows are 10 s of simulated time. A report names how many events were dropped for each reason, but only some of them; who needs all has
to compare totals. Source: docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api ("Handle meter event errors") and
stripe.events.V1BillingMeterErrorReportTriggeredEvent of stripe-python 16.1.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from taximeter_sandbox.stripe.http.rfc3339 import rfc3339
from taximeter_sandbox.stripe.metering.meter_events import DropReason, EventStore
from taximeter_sandbox.stripe.metering.meters import MeterCatalogue
from taximeter_sandbox.stripe.state.assumptions import Assumptions
from taximeter_sandbox.stripe.webhooks.event_log import Related
from taximeter_sandbox.stripe.webhooks.notifications import Notifications

WINDOW_MS = 10_000
TRIGGERED = "v1.billing.meter.error_report_triggered"
NO_METER_FOUND = "v1.billing.meter.no_meter_found"
MESSAGES: Mapping[DropReason, str] = {
    "archived_meter": "The meter must be active to submit events.",
    "meter_event_customer_not_found": "No customer was found for the customer ID in the event payload.",
    "meter_event_no_customer_defined": "No customer ID is found.",
    "meter_event_value_not_found": "No value is found in the event payload.",
    "meter_event_invalid_value": "The value in the event payload is invalid.",
    "meter_event_value_too_many_digits": "The value in the event payload has too many digits.",
    "timestamp_in_future": "The event timestamp cannot be more than 5 minutes in the future.",
    "timestamp_too_far_in_past": "The event timestamp must be within the past 35 calendar days.",
    "no_meter": "No meter is found for the event name.",
}


class ErrorReport(NamedTuple):
    """The drops of one meter (None: no meter has the event name) in the window that starts at `start_ms`; `samples` are numbers of events."""

    start_ms: int
    meter_id: str | None
    counts: Counter[DropReason]
    samples: dict[DropReason, list[int]]

    @property
    def end_ms(self) -> int:
        """The first millisecond after the window."""
        return self.start_ms + WINDOW_MS


class ErrorReports:
    """The windows that are not closed. At most one event per reason, meter and sample is remembered, so it stays small."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], ErrorReport] = {}
        self._next_end_ms: int | None = None

    def dropped(self, sequence: int, reason: DropReason, meter_id: str | None, at_ms: int, samples_max: int) -> None:
        """Count an event that was dropped at `at_ms`."""
        start_ms = at_ms // WINDOW_MS * WINDOW_MS
        report = self._open.get((start_ms, meter_id or ""))
        if report is None:
            report = self._open.setdefault((start_ms, meter_id or ""), ErrorReport(start_ms, meter_id, Counter(), {}))
            self._next_end_ms = report.end_ms if self._next_end_ms is None else min(self._next_end_ms, report.end_ms)
        report.counts[reason] += 1
        samples = report.samples.setdefault(reason, [])
        if len(samples) < samples_max:
            samples.append(sequence)

    def close(self, now_ms: int) -> list[ErrorReport]:
        """The reports of the windows that have ended, oldest first; each is given once."""
        if self._next_end_ms is None or now_ms < self._next_end_ms:
            return []
        ended = sorted(key for key, report in self._open.items() if report.end_ms <= now_ms)
        closed = [self._open.pop(key) for key in ended]
        self._next_end_ms = min((report.end_ms for report in self._open.values()), default=None)
        return closed


def announce(report: ErrorReport, meters: MeterCatalogue, events: EventStore, assumptions: Assumptions, notifications: Notifications) -> None:
    """Notify of a report; it happened when its window ended."""
    data = report_data(report, events, assumptions)
    if report.meter_id is None:
        notifications.thin(NO_METER_FOUND, None, data, report.end_ms)
        return
    related = Related(report.meter_id, "billing.meter", f"/v1/billing/meters/{report.meter_id}")
    notifications.thin(TRIGGERED, related, data, report.end_ms, livemode=meters.get(report.meter_id).livemode)


def report_data(report: ErrorReport, events: EventStore, assumptions: Assumptions) -> dict[str, object]:
    """The `data` of the thin event."""
    total = report.counts.total()
    error_types = [
        {
            "code": reason,
            "error_count": count,
            "sample_errors": [
                {"error_message": MESSAGES[reason], "request": _request(events, sequence, assumptions)} for sequence in report.samples[reason]
            ],
        }
        for reason, count in sorted(report.counts.items())
    ]
    return {
        "developer_message_summary": f"There is {total} invalid event" if total == 1 else f"There are {total} invalid events",
        "reason": {"error_count": total, "error_types": error_types},
        "validation_start": rfc3339(report.start_ms),
        "validation_end": rfc3339(report.end_ms),
    }


def _request(events: EventStore, sequence: int, assumptions: Assumptions) -> dict[str, str]:
    event = events[sequence]
    named = event.identifier if assumptions.sample_names == "event" else event.request_key
    if assumptions.sample_request == "idempotency_key":
        return {"id": "", "idempotency_key": named}
    return {"identifier": named}
