"""A plan of rows that a person gives, with the evidence on which they rest: for what no event can say."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX, MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.adjustments.plan_derivation import DerivedPart
from audit.adjustments.plan_reading import TalliesEnd
from audit.adjustments.signed_sums import SignedSums
from metering.kafka.clients import KafkaSettings
from metering.plans.plan_header import PlanHeader, PlannedRange, PlanRule
from metering.plans.usage_selector import EVERYTHING_SELECTED
from metering.records.adjustment import ADJUSTED_QUANTITY_MAX, AdjustedRow
from taximeter.replay_plans.plan_directory import PlanDirectory, PlanUnusable, direct_parts

GIVEN_ROWS_MAX: Final = 1_000_000
_KEYS: Final = {"customer", "meter", "time", "quantity", "dimensions"}


def read_rows(file: Path) -> list[AdjustedRow]:
    """Rows of an NDJSON file: customer, meter, time (RFC 3339), quantity with its sign, and dimensions if the meter has some. Raises PlanUnusable,
    with the line, for what is none, and OSError.
    """
    rows: list[AdjustedRow] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if number > GIVEN_ROWS_MAX:
                raise PlanUnusable(f"{file} has more than {GIVEN_ROWS_MAX:,} lines: make several plans")
            if line.strip():
                try:
                    rows.append(_row(orjson.loads(line)))
                except (ValueError, TypeError, AttributeError) as error:
                    raise PlanUnusable(f"{file}, line {number}: {error}") from None
    if not rows:
        raise PlanUnusable(f"{file} has no rows")
    return rows


def write_given(
    directory: PlanDirectory, kafka: KafkaSettings, ends: Mapping[int, TalliesEnd], rows: Sequence[AdjustedRow], *, rule: PlanRule, now_ms: int
) -> None:
    """Make the plan of these rows, complete but for its header. Raises PlanUnusable where a customer's partition has no tallies, and OSError."""
    sums: dict[int, SignedSums] = {}
    for row in rows:
        sums.setdefault(partition_of(row[0], kafka.partitions), SignedSums(MINUTE_MS, rule.into)).add_row(row)
    missing = sorted(sums.keys() - ends.keys())
    if missing:
        raise PlanUnusable(f"nothing was ever counted in partition {missing[0]}: there is no chain to adjust")
    ranges = {partition: PlannedRange(ends[partition].end, ends[partition].end, ends[partition].base, ends[partition].chain_id) for partition in sums}
    directory.begin(PlanHeader(rule, EVERYTHING_SELECTED, now_ms, ranges, MINUTE_MS))
    for partition, found in sums.items():
        with direct_parts(directory, partition) as (add, brought):
            brought.add(found.brought)
            for part in found.drain():
                add(DerivedPart(False, part))


def _row(document: Any) -> AdjustedRow:
    """Raises ValueError, TypeError or AttributeError, in words where it can."""
    if not isinstance(document, dict) or document.keys() - _KEYS or {"customer", "meter", "time", "quantity"} - document.keys():
        raise ValueError("not an object with customer, meter, time and quantity, and dimensions at most")
    customer, meter, quantity = document["customer"], document["meter"], document["quantity"]
    if not isinstance(customer, str) or not 0 < len(customer) <= CUSTOMER_CHARS_MAX or not isinstance(meter, str) or not meter:
        raise ValueError("customer and meter must be texts")
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 0 < abs(quantity) <= ADJUSTED_QUANTITY_MAX:
        raise ValueError(f"quantity must be an integer other than 0, up to {ADJUSTED_QUANTITY_MAX} either way")
    moment = datetime.fromisoformat(document["time"])
    if moment.tzinfo is None:
        raise ValueError("time has no zone: add Z for UTC")
    minute_ms = int(moment.astimezone(UTC).timestamp()) // 60 * MINUTE_MS
    pairs = document.get("dimensions", {})
    if not isinstance(pairs, dict) or not all(isinstance(value, str) for value in pairs.values()):
        raise ValueError("dimensions must be an object of texts")
    return customer, meter, tuple(sorted(pairs.items())), minute_ms, quantity, 0
