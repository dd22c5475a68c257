"""The bounds of an event and of a batch, which every writer and every reader of usage.events keeps."""

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
CLOCK_AHEAD_MAX_MS: Final = HOUR_MS  # of a time that an emitter or gateway set: ids and numbers are remembered for so much longer

# One batch of events. 5,000 events of at most 10^12 stay far inside a signed 64-bit sum.
BATCH_EVENTS_MAX: Final = 5_000

# One Kafka record of usage.events.
EVENT_RECORD_BYTES_MAX: Final = 1_000_000
# Kafka's max.message.bytes bounds a batch of records: beside the value there are the key, the headers and the batch's own header.
ENVELOPE_BYTES: Final = 64 * 1024

assert BATCH_EVENTS_MAX * QUANTITY_MAX < 2**63
