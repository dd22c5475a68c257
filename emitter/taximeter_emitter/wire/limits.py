"""Every bound that two parts must agree on, and how the bounds relate (checked at import, because a wrong relation bills wrongly)."""

from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
DAY_MS: Final = 24 * HOUR_MS

# One event.
QUANTITY_MAX: Final = 10**12
EVENT_ID_CHARS_MAX: Final = 128
SOURCE_CHARS_MAX: Final = 128
CUSTOMER_CHARS_MAX: Final = 128
NAME_CHARS_MAX: Final = 64  # a usage field, or the key of a dimension
DIMENSION_VALUE_CHARS_MAX: Final = 128
USAGE_FIELDS_MAX: Final = 16
DIMENSIONS_MAX: Final = 16
FUTURE_TOLERANCE_MS: Final = 5 * MINUTE_MS  # as far ahead as Stripe takes a meter event
EVENT_AGE_MAX_MS: Final = 35 * DAY_MS  # the oldest timestamp that Stripe takes

# One batch of events. 5,000 events of at most 10^12 stay far inside a signed 64-bit sum.
BATCH_EVENTS_MAX: Final = 5_000
METERS_MAX: Final = 16

# One Kafka record. A tally or an intent may not be split, so its topic takes larger records than the topic of events: a tally is cut when
# it passes its target, and the last record folded into it adds at most what BATCH_EVENTS_MAX and METERS_MAX allow.
EVENT_RECORD_BYTES_MAX: Final = 1_000_000
CHAIN_RECORD_BYTES_TARGET: Final = 800_000
CHAIN_RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
TALLY_ROW_BYTES: Final = 64  # what a row adds to a tally beside the strings it names

# Kafka must keep an event for as long as Stripe would still bill it, and a few days to repair things in.
EVENTS_RETENTION_MS: Final = 40 * DAY_MS
WINDOW_MS: Final = MINUTE_MS

# Stripe's side (facts: Stripe's API reference of billing meter events).
IDENTIFIER_CHARS_MAX: Final = 100
VALUE_MAX: Final = 10**15 - 1  # 15 significant digits
IDENTIFIER_MEMORY_MS: Final = 24 * HOUR_MS  # Stripe refuses a repeated identifier for at least this long
RETRY_SAME_IDENTIFIER_MS: Final = 20 * HOUR_MS  # and this is when we stop relying on it

assert BATCH_EVENTS_MAX * QUANTITY_MAX < 2**63
assert RETRY_SAME_IDENTIFIER_MS < IDENTIFIER_MEMORY_MS
assert EVENT_AGE_MAX_MS < EVENTS_RETENTION_MS
assert CHAIN_RECORD_BYTES_TARGET + 2 * EVENT_RECORD_BYTES_MAX + BATCH_EVENTS_MAX * METERS_MAX * TALLY_ROW_BYTES < CHAIN_RECORD_BYTES_MAX
assert HOUR_MS % WINDOW_MS == 0
