"""Error reports of Stripe's, each once. Pure."""

from collections.abc import Iterable

from metering.records.ledger_records import Rejection


def distinct(rejections: Iterable[Rejection]) -> list[Rejection]:
    """The same report may have been written more than once: one of each event, code and partition, in the order of their writing."""
    found: dict[tuple[str, str, int], Rejection] = {}
    for rejection in sorted(rejections, key=lambda each: each.at_ms):
        found.setdefault((rejection.event_id, rejection.code, rejection.partition), rejection)
    return list(found.values())
