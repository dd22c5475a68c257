"""Bounds of what the services write and of what Stripe takes, and how all bounds relate.

The relations are checked at import, because a wrong one bills wrongly. The bounds of an event and of a batch are in taximeter_emitter.wire.limits.
"""

from typing import Final

from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, DAY_MS, EVENT_RECORD_BYTES_MAX, HOUR_MS, MINUTE_MS

METERS_MAX: Final = 512
EVENT_METERS_MAX: Final = 16  # meters that may take the same event
CATALOGUE_BYTES_MAX: Final = 512 * 1024  # of the definition of all meters, which a tally carries now and then

# A tally or an intent may not be split, so its topic takes larger records than the topic of events: a tally is cut when it passes its target,
# and the last record folded into it adds at most what BATCH_EVENTS_MAX and EVENT_METERS_MAX allow.
CHAIN_RECORD_BYTES_TARGET: Final = 800_000
CHAIN_RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
TALLY_ROW_BYTES: Final = 64  # what a row adds to a tally beside the strings it names

# What one batch of records may be, whatever a broker takes: it bounds what is compressed, a megabyte of which may inflate to gigabytes. A batch
# beyond cannot be read. Twice the largest record of our own, which is alone in its batch.
BATCH_INFLATED_BYTES_MAX: Final = 2 * CHAIN_RECORD_BYTES_MAX
BATCH_RECORDS_MAX: Final = 250_000  # more do not fit into a batch of usage.events unless they are compressed
BATCH_HEADERS_MAX: Final = 10_000  # of one record, where its batch is large
# A value of usage.events that was compressed may be larger than one that was not. Parsed it takes up to thirty times its size.
EVENT_VALUE_BYTES_MAX: Final = 4 * EVENT_RECORD_BYTES_MAX

# Kafka must keep an event for as long as Stripe would still bill it, and a few days to repair things in.
EVENT_AGE_MAX_MS: Final = 35 * DAY_MS  # the oldest timestamp that Stripe takes
EVENTS_RETENTION_MS: Final = 40 * DAY_MS
WINDOW_MS: Final = MINUTE_MS

# Stripe's side (facts: Stripe's API reference of billing meter events).
IDENTIFIER_CHARS_MAX: Final = 100
VALUE_MAX: Final = 10**15 - 1  # 15 significant digits
IDENTIFIER_MEMORY_MS: Final = 24 * HOUR_MS  # Stripe refuses a repeated identifier for at least this long
RETRY_SAME_IDENTIFIER_MS: Final = 20 * HOUR_MS  # and this is when we stop relying on it

assert RETRY_SAME_IDENTIFIER_MS < IDENTIFIER_MEMORY_MS
assert EVENT_AGE_MAX_MS < EVENTS_RETENTION_MS
assert (
    CHAIN_RECORD_BYTES_TARGET + CATALOGUE_BYTES_MAX + 2 * EVENT_RECORD_BYTES_MAX + BATCH_EVENTS_MAX * EVENT_METERS_MAX * TALLY_ROW_BYTES
    < CHAIN_RECORD_BYTES_MAX
)
assert HOUR_MS % WINDOW_MS == 0
