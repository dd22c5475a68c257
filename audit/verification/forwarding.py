"""Events that were forwarded: does the log of their customer's partition have them?

Memory: at most FORWARDED_MAX events at a time are looked for; of more, those whose fingerprints come first.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from audit.decoder.record_contents import SingleContents
from audit.decoder.record_reading import contents_of
from audit.recount.tally_recount import Forwarded, identity_in
from metering.kafka.partition_log import LogReader

FORWARDED_MAX: Final = 500_000


async def missing_copies(reader: LogReader, topic: str, forwarded: Sequence[Forwarded]) -> list[Forwarded]:
    """Those that are not where they were forwarded to. Reads the partitions that they name. Raises LogUnavailable or FailClosed."""
    by_home: dict[int, dict[bytes, Forwarded]] = defaultdict(dict)
    for event in sorted(forwarded, key=lambda event: event.identity)[:FORWARDED_MAX]:
        by_home[event.home].setdefault(event.identity, event)
    for home, wanted in by_home.items():
        bounds = await reader.bounds(topic, home)
        async with aclosing(reader.records(topic, home, *bounds)) as batches:
            async for records in batches:
                for record in records:
                    contents = contents_of(record)
                    if isinstance(contents, SingleContents):
                        wanted.pop(identity_in(contents.events, 0), None)
                if not wanted:
                    break
    return [event for wanted in by_home.values() for event in wanted.values()]
