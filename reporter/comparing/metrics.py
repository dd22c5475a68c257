"""What the comparison with Stripe exports."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge

from metering.process.metrics import counter, gauge
from metering.records.notes.evidence import CellVerdict
from reporter.comparing.doubt_book import DoubtKind

READ_OUTCOMES: Final = ("ok", "refused", "unread")
DIFFERENCES: Final = (CellVerdict.MISSING, CellVerdict.EXTRA, CellVerdict.UNDECIDED)


@dataclass(frozen=True, slots=True)
class ComparingMetrics:
    """Of the partitions that this process owns."""

    reads: Counter
    cells: Counter
    differing_units: Gauge
    doubts: Gauge
    oldest_doubt: Gauge
    lag: Gauge

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare them on this registry."""
        prefix = "taximeter_reporter"
        return cls(
            reads=counter(
                registry,
                f"{prefix}_summary_reads_total",
                "Calls for Stripe's summaries: refused means that Stripe does not show this customer or meter.",
                labels={"outcome": READ_OUTCOMES},
            ),
            cells=counter(
                registry,
                f"{prefix}_reconciled_cells_total",
                "Cells (a customer, a meter and an hour) that were compared with Stripe's sums, by verdict.",
                labels={"verdict": tuple(verdict.value for verdict in CellVerdict)},
            ),
            differing_units=gauge(
                registry,
                f"{prefix}_differing_units",
                "Units by which Stripe's sums differ from the ledger in cells where two reads confirmed it.",
                labels={"verdict": tuple(verdict.value for verdict in DIFFERENCES)},
            ),
            doubts=gauge(
                registry,
                f"{prefix}_doubtful_cells",
                "Cells that wait to be compared because something of them is in doubt.",
                labels={"kind": tuple(kind.value for kind in DoubtKind)},
            ),
            oldest_doubt=gauge(
                registry,
                f"{prefix}_oldest_doubt_timestamp_seconds",
                "Since when the oldest doubt waits to be read at Stripe; NaN when none is due.",
                unit="timestamp_seconds",
            ),
            lag=gauge(
                registry,
                f"{prefix}_summary_lag_seconds",
                "How far Stripe's summaries lagged at most in the last day; NaN before it was measured.",
                unit="seconds",
            ),
        )
