"""Error reports of Stripe's, and what a reader makes of them."""

from reporter.webhooks.error_reports import ReportReader

PARTITIONS = 12
BATCHES = {"batch-1": ("tm-ab-1-0-5-0", "tm-ab-4-0-5-0", "tm-ab-4-0-5-1"), "batch-2": ("tm-ab-9-0-5-0",)}


def reader() -> ReportReader:
    return ReportReader(partitions=PARTITIONS, instance="reporter-1", identifiers_of=lambda key: BATCHES.get(key, ()))
