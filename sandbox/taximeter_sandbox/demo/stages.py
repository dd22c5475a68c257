"""The run in a few lines: for each stage its rate, what waits before it, and how it pushes back. Pure, from snapshots."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from taximeter_sandbox.demo.installation import AGGREGATORS, GATEWAY, REPORTERS
from taximeter_sandbox.demo.watching import Snapshot, Watch, total

MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Stage:
    """One line. `rate`: what it does a second; `lag`: what waits for it; `pressure`: what it holds back, or lets others wait for."""

    name: str
    done: str
    rate: str
    lag: str
    pressure: str


def progress(watch: Watch, events: int) -> tuple[float, float | None]:
    """The share of the load that is emitted, and about how many seconds the rest takes (None while nobody can say)."""
    latest = watch.latest
    if latest is None:
        return 0.0, None
    rate = watch.rate(lambda snapshot: snapshot.emitted)
    return latest.emitted / events, (events - latest.emitted) / rate if rate else None


def summary(watch: Watch, events: int) -> str:
    """Everything in one line."""
    latest = watch.latest
    if latest is None:
        return "starting"
    share, left = progress(watch, events)
    load = f"{share:.0%} emitted, {watch.rate(lambda each: each.emitted):,.0f} events/s"
    about = f", {left:.0f} s left" if left is not None and share < 1 else ""
    held = latest.sum_of([GATEWAY], "taximeter_gateway_in_flight_bytes") / MEGABYTE
    counting = sum(_rate(watch, name, "taximeter_aggregator_events_total") for name in AGGREGATORS)
    behind = latest.sum_of(AGGREGATORS, "taximeter_aggregator_lag_records")
    calling = sum(_rate(watch, name, "taximeter_reporter_stripe_calls_total") for name in REPORTERS)
    waiting = latest.sum_of(REPORTERS, "taximeter_reporter_waiting_meter_events")
    down = [name for name, view in latest.services.items() if not view.up]
    parts = [
        f"{load}{about}",
        f"gateway holds {held:.1f} MB",
        f"counted {counting:,.0f}/s, {behind:,.0f} records behind",
        f"Stripe {calling:,.0f} calls/s, {waiting:,.0f} meter events waiting",
        *([f"DOWN: {', '.join(down)}"] if down else []),
    ]
    return " | ".join(parts)


def stages(watch: Watch) -> Sequence[Stage]:
    """One line for the load, for each door, for each service process and for Stripe; none before the first snapshot."""
    latest = watch.latest
    if latest is None:
        return ()
    return [_load(watch, latest), _gateway(watch, latest), *_aggregators(watch, latest), *_reporters(watch, latest), _stripe(watch, latest)]


def _load(watch: Watch, latest: Snapshot) -> Stage:
    waiting = sum(each.waiting for each in latest.load.values())
    resent = sum(each.resent for each in latest.load.values())
    return Stage(
        "load",
        f"{latest.emitted:,} events",
        f"{watch.rate(lambda each: each.emitted):,.0f}/s",
        f"{waiting:,} buffered",
        f"{resent:,} sent again" if resent else "",
    )


def _gateway(watch: Watch, latest: Snapshot) -> Stage:
    prefix = "taximeter_gateway"
    series = latest.services[GATEWAY].series
    refused = total(series, f"{prefix}_requests_refused_total")
    held, limit = total(series, f"{prefix}_in_flight_bytes"), total(series, f"{prefix}_in_flight_limit_bytes")
    return Stage(
        GATEWAY,
        f"{total(series, f'{prefix}_events_accepted_total'):,.0f} events",
        f"{_rate(watch, GATEWAY, f'{prefix}_events_accepted_total'):,.0f}/s",
        f"{held / MEGABYTE:.1f} MB in flight",
        f"{refused:,.0f} refused" if refused else f"limit {limit / MEGABYTE:.0f} MB",
    )


def _aggregators(watch: Watch, latest: Snapshot) -> list[Stage]:
    prefix = "taximeter_aggregator"
    lines = []
    for name in AGGREGATORS:
        view = latest.services[name]
        paused = total(view.series, f"{prefix}_paused_partitions")
        held = total(view.series, f"{prefix}_unflushed_bytes")
        line = Stage(
            name,
            f"{total(view.series, f'{prefix}_events_total'):,.0f} events",
            f"{_rate(watch, name, f'{prefix}_events_total'):,.0f}/s",
            f"{total(view.series, f'{prefix}_lag_records'):,.0f} records" if view.up else "DOWN",
            f"{paused:.0f} paused" if paused else f"{held / MEGABYTE:.1f} MB held",
        )
        lines.append(line)
    return lines


def _reporters(watch: Watch, latest: Snapshot) -> list[Stage]:
    prefix = "taximeter_reporter"
    lines = []
    for name in REPORTERS:
        view = latest.services[name]
        waiting, in_flight = total(view.series, f"{prefix}_waiting_meter_events"), total(view.series, f"{prefix}_in_flight_calls")
        limit = total(view.series, f"{prefix}_rate_limit_per_second")
        line = Stage(
            name,
            f"{total(view.series, f'{prefix}_stripe_calls_total'):,.0f} calls",
            f"{_rate(watch, name, f'{prefix}_stripe_calls_total'):,.0f}/s",
            f"{waiting:,.0f} meter events" if view.up else "DOWN",
            f"{in_flight:.0f} now, max {limit:,.0f}/s",
        )
        lines.append(line)
    return lines


def _stripe(watch: Watch, latest: Snapshot) -> Stage:
    traffic = latest.stripe
    if traffic is None:
        return Stage("Stripe", "", "", "", "")
    return Stage(
        "Stripe",
        f"{traffic.calls:,} calls",
        f"{watch.rate(lambda each: each.stripe.calls if each.stripe else 0):,.0f}/s",
        f"{traffic.duplicates:,} repeats refused",
        f"{traffic.faults:,} faults",
    )


def _rate(watch: Watch, service: str, metric: str) -> float:
    return watch.rate(lambda snapshot: snapshot.sum_of([service], metric))
