"""Metrics of webhooks, and of meter events that Stripe refuses after accepting them."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge

from metering.process.connections import CLOSED, Fault
from metering.process.metrics import counter, gauge
from reporter.stripe.report_types import REPORT_TYPES
from reporter.webhooks.error_reports import CODES, OTHER_CODE
from reporter.webhooks.hooks import HookOutcome
from reporter.webhooks.webhook_intake import MONITORED, OTHER_TYPE, IntakeVerdict, Lane

REFUSALS: Final = (
    "no_signature",
    "bad_signature",
    "too_old",
    "malformed",
    "too_large",
    "slow_body",
    "broken_body",
    "not_found",
    "method_not_allowed",
    "failed",
    *(fault.reason for fault in Fault if fault not in {Fault.BROKEN_BODY, Fault.CRASHED}),
)
STEPS: Final = ("fetch", "ledger", "observer", "unexpected")
BACKFILLS: Final = ("ok", "incomplete", "unavailable", "forbidden", "failed")


@dataclass(frozen=True, slots=True)
class WebhookMetrics:
    """Rejections count once they are in the ledger."""

    requests: Counter
    connections_closed: Counter
    events: Counter
    waiting: Gauge
    failures: Counter
    hook_calls: Counter
    rejections: Counter
    unnamed: Counter
    rejected_at: Gauge
    backfills: Counter
    recovered: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare the metrics on this registry."""
        prefix = "taximeter_reporter"
        return cls(
            requests=counter(
                registry,
                f"{prefix}_webhook_requests_total",
                "Requests to the webhook endpoint, by what was answered.",
                labels={"outcome": (*(each.value for each in IntakeVerdict), *REFUSALS)},
            ),
            connections_closed=counter(
                registry,
                f"{prefix}_webhook_connections_closed_total",
                "Connections to the webhook endpoint that the reporter closed or refused, by reason.",
                labels={"reason": CLOSED},
            ),
            events=counter(
                registry, f"{prefix}_webhook_events_total", "Events taken, by type.", labels={"type": (*MONITORED, *REPORT_TYPES, OTHER_TYPE)}
            ),
            waiting=gauge(
                registry,
                f"{prefix}_webhook_waiting_events",
                "Events taken and not yet processed.",
                labels={"lane": tuple(each.value for each in Lane)},
            ),
            failures=counter(
                registry, f"{prefix}_webhook_failures_total", "Events whose processing failed, by what could not be done.", labels={"step": STEPS}
            ),
            hook_calls=counter(
                registry,
                f"{prefix}_webhook_hook_calls_total",
                "Calls of the hook, by how they ended; busy: not made.",
                labels={"outcome": tuple(each.value for each in HookOutcome)},
            ),
            rejections=counter(
                registry,
                f"{prefix}_async_rejections_total",
                "Meter events that Stripe took and refused later, by its code.",
                labels={"code": (*CODES, OTHER_CODE)},
            ),
            unnamed=counter(
                registry,
                "taximeter_webhooks_unnamed_refusals_total",
                "Meter events that Stripe took and refused later, which its error reports count and do not name.",
                labels={"code": (*CODES, OTHER_CODE)},
            ),
            rejected_at=gauge(
                registry,
                f"{prefix}_async_rejection_timestamp_seconds",
                "When Stripe's newest error report was written to the ledger; NaN if this process wrote none.",
                unit="timestamp_seconds",
            ),
            backfills=counter(
                registry,
                f"{prefix}_webhook_backfills_total",
                "Times that Stripe was asked for error reports; incomplete: some could not be recorded.",
                labels={"outcome": BACKFILLS},
            ),
            recovered=counter(registry, f"{prefix}_webhook_recovered_total", "Error reports found by asking that no webhook had brought."),
        )
