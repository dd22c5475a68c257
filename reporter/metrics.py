"""What the reporter exports."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering.process.metrics import STRIPE_SECONDS, counter, gauge, histogram
from metering.records.ledger_records import CorrectionKind, Outcome
from metering.workers.group_metrics import GroupMetrics
from reporter.sending.verdicts import Retry
from reporter.stripe.listed_meters import WhyUnread

CALL_OUTCOMES: Final = ("ok", "duplicate", "refused", "meter_refused", "too_old", "stopped", *(reason.value for reason in Retry))
REPORTING_STOPS: Final = (
    "ChainBroken",
    "RecordCorrupt",
    "RecordUnreadable",
    "HistoryLost",
    "MeterMissing",
    "FormDiffers",
    "PartitionsAdded",
    "LedgerClosed",
    "Unforeseen",
)


@dataclass(frozen=True, slots=True)
class ReporterMetrics:
    """Meter events and units are counted when their receipt is in the ledger."""

    calls: Counter
    call_seconds: Histogram
    meter_events: Counter
    quantity: Counter
    quantity_back: Counter
    corrections: Counter
    intents: Counter
    receipts: Counter
    waiting: Gauge
    in_flight: Gauge
    in_flight_limit: Gauge
    meters_held: Gauge
    unreported_units: Gauge
    held_units: Gauge
    catch_up: Gauge
    carried_since: Gauge
    unlinked_units: Gauge
    unlinked_since: Gauge
    links: Gauge
    links_unfollowed: Gauge
    backlog_rows: Gauge
    rate_limit: Gauge
    halted: Gauge
    reported_log_time: Gauge
    oldest_unknown: Gauge
    next_period_end: Gauge
    unreported_period_end: Gauge
    invoice_grace: Gauge
    period_customers: Gauge
    period_reads: Counter
    meter_reads: Counter
    foreign_records: Counter
    group: GroupMetrics

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare them on this registry."""
        prefix = "taximeter_reporter"
        partition = {"partition": ()}
        return cls(
            calls=counter(
                registry, f"{prefix}_stripe_calls_total", "Finished calls, by the meaning of the reply.", labels={"outcome": CALL_OUTCOMES}
            ),
            call_seconds=histogram(
                registry, f"{prefix}_stripe_call_duration_seconds", "How long a call took.", unit="seconds", buckets=STRIPE_SECONDS
            ),
            meter_events=counter(
                registry,
                f"{prefix}_meter_events_total",
                "Meter events, by outcome.",
                labels={"outcome": tuple(outcome.value for outcome in Outcome)},
            ),
            quantity=counter(
                registry,
                f"{prefix}_quantity_total",
                "Units that Stripe has, without corrections and what was taken back (a view: the ledger is the truth).",
                labels={"meter": ()},
            ),
            quantity_back=counter(
                registry,
                f"{prefix}_quantity_back_total",
                "Units that meter events below zero took back, because what was counted was adjusted; without corrections.",
                labels={"meter": ()},
            ),
            corrections=counter(
                registry,
                f"{prefix}_corrections_total",
                "Corrections, by kind and outcome.",
                labels={"kind": tuple(kind.value for kind in CorrectionKind), "outcome": tuple(outcome.value for outcome in Outcome)},
            ),
            intents=counter(
                registry, f"{prefix}_intents_total", "Intents appended; lost: another writer's came first.", labels={"outcome": ("accepted", "lost")}
            ),
            receipts=counter(registry, f"{prefix}_receipts_total", "Receipts appended."),
            waiting=gauge(registry, f"{prefix}_waiting_meter_events", "Meter events of accepted intents without a final outcome."),
            in_flight=gauge(registry, f"{prefix}_in_flight_calls", "Calls under way."),
            in_flight_limit=gauge(
                registry,
                f"{prefix}_in_flight_limit_calls",
                "Calls that may be under way at once: as many as there are connections, fewer while Stripe says that there are too many.",
            ),
            meters_held=gauge(
                registry, f"{prefix}_meters_held", "1 while Stripe refuses the meter: nothing of it is sent, its usage waits.", labels={"meter": ()}
            ),
            unreported_units=gauge(
                registry,
                f"{prefix}_unreported_units",
                "Units that were read from the tallies and have no final outcome, held ones included.",
                labels={"meter": ()},
            ),
            held_units=gauge(registry, f"{prefix}_held_units", "Units that wait because Stripe refuses their meter.", labels={"meter": ()}),
            catch_up=gauge(
                registry,
                f"{prefix}_catch_up_seconds",
                "How long what waits for Stripe takes at the pace of the last busy minute, without held usage; +Inf when nothing gets through.",
                unit="seconds",
            ),
            unlinked_units=gauge(
                registry,
                f"{prefix}_unlinked_units",
                "Units that wait for a link of their customer; a latest value counts as one.",
                labels={"meter": ()},
            ),
            unlinked_since=gauge(
                registry,
                f"{prefix}_unlinked_usage_timestamp_seconds",
                "Time of the oldest usage that waits for a link of its customer; NaN when none does.",
                unit="timestamp_seconds",
                labels={"meter": ()},
            ),
            links=gauge(registry, f"{prefix}_customer_links", "Customers that are linked to one of Stripe's."),
            links_unfollowed=gauge(registry, f"{prefix}_customer_links_unfollowed", "1 while not all links of customers are known."),
            carried_since=gauge(
                registry,
                f"{prefix}_carried_usage_timestamp_seconds",
                "Time of the oldest usage that waits because Stripe refuses its meter; NaN when none does.",
                unit="timestamp_seconds",
                labels={"meter": ()},
            ),
            backlog_rows=gauge(registry, f"{prefix}_backlog_rows", "Counted sums that are in no intent yet."),
            rate_limit=gauge(registry, f"{prefix}_rate_limit_per_second", "Calls a second that this process allows itself.", unit="per_second"),
            halted=gauge(registry, f"{prefix}_halted", "1 while Stripe refuses the key or the address is wrong: only probes are sent."),
            reported_log_time=gauge(
                registry,
                f"{prefix}_reported_timestamp_seconds",
                "All usage counted up to this time has a final outcome; now, when nothing waits.",
                unit="timestamp_seconds",
                labels=partition,
            ),
            oldest_unknown=gauge(
                registry,
                f"{prefix}_oldest_unknown_timestamp_seconds",
                "When the oldest meter event of unknown outcome was planned; NaN when there is none.",
                unit="timestamp_seconds",
            ),
            next_period_end=gauge(
                registry,
                f"{prefix}_next_period_end_timestamp_seconds",
                "The soonest known end of a billing period among customers of the owned partitions; NaN when none is known.",
                unit="timestamp_seconds",
            ),
            unreported_period_end=gauge(
                registry,
                f"{prefix}_unreported_period_end_timestamp_seconds",
                "End of the oldest ended billing period with counted usage that has no final outcome; NaN when there is none.",
                unit="timestamp_seconds",
                labels=partition,
            ),
            invoice_grace=gauge(registry, f"{prefix}_invoice_grace_seconds", "The setting invoice_grace_seconds.", unit="seconds"),
            period_customers=gauge(registry, f"{prefix}_period_customers", "Customers whose billing periods are known."),
            period_reads=counter(
                registry,
                f"{prefix}_period_reads_total",
                "Readings of all subscriptions; refused: the key may not read them.",
                labels={"outcome": ("ok", "refused", "failed")},
            ),
            meter_reads=counter(
                registry,
                f"{prefix}_meter_reads_total",
                "Readings of all meters; forbidden: the key may not read them.",
                labels={"outcome": ("ok", *(why.value for why in WhyUnread))},
            ),
            foreign_records=counter(
                registry,
                f"{prefix}_foreign_records_total",
                "Records that Taximeter did not write, where nobody else may write; they are passed over.",
                labels={"topic": ("tallies", "ledger")},
            ),
            group=GroupMetrics.create(
                registry,
                prefix,
                lag="Tallies that no accepted intent covers.",
                paused="Owned partitions whose reading is paused because Stripe takes no more.",
                takeover="Time from assignment to reporting.",
                stop_reasons=REPORTING_STOPS,
            ),
        )
