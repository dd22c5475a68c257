"""How many cores, partitions, brokers and calls to Stripe a rate of events needs, computed from the kept results: docs/capacity.md."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

RATES: Final = (10**4, 10**5, 10**6)
BUSY: Final = 0.6  # of a core, so that a backlog is worked off while usage goes on
STEADY_RATE: Final = 50_000  # of one process, in the rows that stand for a busy one
EVENTS_PER_SERIES_MINUTE: Final = 600
REPORT_SECONDS: Final = 60
V1_CALLS_MAX: Final = 800
V2_EVENTS_MAX: Final = 8_000
PARTITIONS_MIN: Final = 12
PARTITIONS_PER_CORE: Final = 4
REPLICAS: Final = 3
BROKERS_MIN: Final = 3
BROKER_BYTES_PER_S: Final = 50_000_000
# Path and variant of the kept rows that the costs are in. The aggregator's are under a steady load: from a backlog it reads more at once, and an
# event costs less.
_ROWS: Final[Mapping[str, tuple[str, str]]] = {
    "gateway": ("gateway-100", "gateway"),
    "counting": ("aggregator-steady-numbered-50000-12", "aggregator"),
    "counting_ids": ("aggregator-steady-ids-50000-12", "aggregator"),
    "counting_singles": ("aggregator-steady-50000-12", "aggregator"),
    "counting_few_singles": ("aggregator-steady-5000-12", "aggregator"),
    "catching_up": ("aggregator-ids-500", "aggregator"),
    "reporting_v1": ("reporter-v1", "reporter"),
    "reporting_v2": ("reporter-v2", "reporter"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Measured: CPU-seconds per million events of each part, and the bytes of an event in a batch."""

    gateway: float
    counting: float
    counting_ids: float
    counting_singles: float
    counting_few_singles: float
    catching_up: float
    reporting_v1: float
    reporting_v2: float
    event_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one rate needs. Cores are whole ones, at `BUSY`. `meter_events`: a second, before merging; `api`: how they are sent."""

    rate: int
    gateway_cores: int
    aggregator_cores: int
    aggregator_cores_ids: int
    aggregator_cores_singles: int
    reporter_cores: int
    partitions: int
    brokers: int
    megabytes: float
    meter_events: int
    api: str


def costs_of(kept: Mapping[str, Any]) -> Costs | None:
    """From the kept results; None while one of the rows is missing."""
    rows = {(row["path"], row["variant"]): row for row in kept["results"] if not row["unavailable"]}
    if any(place not in rows for place in _ROWS.values()):
        return None
    costs = {name: float(rows[place]["cpu_s_per_million"]) for name, place in _ROWS.items()}
    return Costs(**costs, event_bytes=float(rows[_ROWS["catching_up"]]["more"]["bytes_per_event"]))


def need_of(rate: int, costs: Costs) -> Need:
    """Everything for this many events a second."""
    meter_events = math.ceil(rate * 60 / EVENTS_PER_SERIES_MINUTE / REPORT_SECONDS)
    v1 = meter_events <= V1_CALLS_MAX
    with_ids = _cores(rate, costs.counting_ids)
    written = rate * costs.event_bytes
    return Need(
        rate=rate,
        gateway_cores=_cores(rate, costs.gateway),
        aggregator_cores=_cores(rate, costs.counting),
        aggregator_cores_ids=with_ids,
        aggregator_cores_singles=_cores(rate, costs.counting_few_singles if rate < STEADY_RATE else costs.counting_singles),
        reporter_cores=_cores(meter_events, costs.reporting_v1 if v1 else costs.reporting_v2),
        partitions=max(PARTITIONS_MIN, PARTITIONS_PER_CORE * with_ids),
        # Each byte is written by every replica, and read once.
        brokers=max(BROKERS_MIN, math.ceil(written * (REPLICAS + 1) / BROKER_BYTES_PER_S)),
        megabytes=written / 1e6,
        meter_events=meter_events,
        api=f"v1, {meter_events:,} calls/s" if v1 else f"v2 stream, {math.ceil(meter_events / 100):,} requests/s",
    )


def _cores(rate: float, cpu_s_per_million: float) -> int:
    return max(1, math.ceil(rate * cpu_s_per_million / 1e6 / BUSY))


def capacity_page(kept: Mapping[str, Any]) -> str:
    """docs/capacity.md."""
    costs = costs_of(kept)
    if costs is None:
        return f"{_HEAD}\nNot every row that this needs was measured yet: {', '.join(path for path, _ in _ROWS.values())}.\n"
    needs = [need_of(rate, costs) for rate in RATES]
    return "\n".join([_HEAD, *_measured(kept, costs), _FORMULA, *_needed(needs), _NOTES])


def _measured(kept: Mapping[str, Any], costs: Costs) -> list[str]:
    return [
        f"Measured on {kept['machine']}, {kept['date']}, commit {kept['commit']}:",
        "",
        "| part | CPU-s / million |",
        "| --- | ---: |",
        f"| gateway, 100 events a request | {costs.gateway:.2f} |",
        f"| aggregator, numbered batches, {STEADY_RATE:,} events/s | {costs.counting:.2f} |",
        f"| aggregator, batches with ids, {STEADY_RATE:,} events/s | {costs.counting_ids:.2f} |",
        f"| aggregator, single events, {STEADY_RATE:,} events/s | {costs.counting_singles:.2f} |",
        f"| aggregator, single events, 5,000 events/s | {costs.counting_few_singles:.2f} |",
        f"| aggregator, batches with ids, from a backlog | {costs.catching_up:.2f} |",
        f"| reporter, meter events by v1 | {costs.reporting_v1:.0f} |",
        f"| reporter, meter events by the v2 stream | {costs.reporting_v2:.0f} |",
        "",
        f"An event with an id takes {costs.event_bytes:.0f} bytes in a batch of 500, before compression.",
        "",
    ]


def _needed(needs: Sequence[Need]) -> list[str]:
    lines = (
        ("gateway cores", [str(need.gateway_cores) for need in needs]),
        ("aggregator cores, numbered batches", [str(need.aggregator_cores) for need in needs]),
        ("aggregator cores, batches with ids", [str(need.aggregator_cores_ids) for need in needs]),
        ("aggregator cores, single events", [str(need.aggregator_cores_singles) for need in needs]),
        ("partitions", [str(need.partitions) for need in needs]),
        ("MB/s of events", [f"{need.megabytes:.1f}" for need in needs]),
        ("brokers", [str(need.brokers) for need in needs]),
        ("meter events/s", [f"{need.meter_events:,}" for need in needs]),
        ("calls to Stripe", [need.api for need in needs]),
        ("reporter cores", [str(need.reporter_cores) for need in needs]),
    )
    head = [f"| {' | '.join(['events/s', *(f'{need.rate:,}' for need in needs)])} |", f"| --- |{' ---: |' * len(needs)}"]
    return [*head, *(f"| {' | '.join([name, *cells])} |" for name, cells in lines), ""]


_HEAD: Final = """# Capacity

Written by `python -m benchmarks --pages` from [benchmarks/results/latest.json](../benchmarks/results/latest.json).
"""

_FORMULA: Final = f"""With a rate R of events a second:

```
cores of a part    = R x CPU-s per million / 10^6 / {BUSY}
meter events/s     = R x 60 / {EVENTS_PER_SERIES_MINUTE} / {REPORT_SECONDS}
cores of reporters = meter events/s x CPU-s per million / 10^6 / {BUSY}
partitions         = {PARTITIONS_PER_CORE} x cores of aggregators with ids, at least {PARTITIONS_MIN}
brokers            = R x bytes of an event x ({REPLICAS} replicas + 1 reader) / {BROKER_BYTES_PER_S // 10**6} MB/s, at least {BROKERS_MIN}
```

The aggregator's figures are those of a steady load, with tallies at the usual interval. Below {STEADY_RATE:,} events/s,
single events cost what they do at 5,000. A core is kept {BUSY:.0%} busy, so that a backlog is worked off while usage goes on.
One process owns a partition; {PARTITIONS_PER_CORE} for each core share the work evenly, and leave room to grow.

Two numbers are assumptions and not measured:

- A customer with usage has {EVENTS_PER_SERIES_MINUTE} events a minute for each meter and set of dimensions.
  They are one meter event every {REPORT_SECONDS} seconds. Use your own number instead: the calls to Stripe follow
  from the number of active customers, not from the number of their events.
- A broker reads and writes {BROKER_BYTES_PER_S // 10**6} MB/s in all.
"""

_NOTES: Final = f"""- Events from the emitter do not pass the gateway. Its cores are for events that come over HTTP.
- The reporter uses 80 % of what Stripe takes: {V1_CALLS_MAX} calls/s on v1, {V2_EVENTS_MAX:,} events/s on the stream.
  Above that it merges windows, to an hour, or to six after a long outage. A customer's minutes become one meter event.
  Only resolution at Stripe is lost.
- TLS to Kafka and to Stripe is not in these figures.
- `taximeter replay plan` derives 0.75 million events a second and core from batches of 500, 0.19 million from batches of 20, and 0.07
  million from single events. With reading, and with its files, a plan of a million events in batches of 500 took 6 CPU seconds where they
  made 101,000 rows, and 24 where they made 748,000. Memory was 90 and 132 MB, and does not grow with the events. The directory had 60 bytes
  a row. Measured once, on a busy machine, by CPU time.
- A plan of five of the twelve partitions of a topic of 100 million events derived 21.7 million in 270 CPU seconds. It had read 3,300 tallies of
  all partitions before. Tallies were small and had many rows, so the directory had 511 MB. Memory was at most 101 MB, and 97 MB after 2 million.
- Ids are remembered for the horizon (24 h): R x 86,400 of them. At 10^6 events/s no index holds them. Such an installation emits numbered
  batches, which need no memory per event.

[benchmarks.svg](benchmarks.svg) shows how the cost of an event changes:

- *Events a batch*: a record has a fixed cost (reading, JSON, its place in the chain). A batch of one event pays it alone.
  Batches of fewer than 64 are joined, so 20 cost little more than 100.
- *Customers* and *windows*: a tally has a row for each customer, meter, dimensions and minute. The more rows a flush has,
  the fewer events share one. In the end each event makes a row of its own, and the curve is flat again.
- *Partitions*: with one or two, each has most of the customers. Waiting batches are added to arrays of all of them, so
  fewer events share that work. With 64, each has few events and a tally of its own every flush.
- *Processes*: the sum of both. The work is divided, and only polling comes twice.
"""
