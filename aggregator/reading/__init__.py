"""From the bytes of records to events, and which of them must not be counted. Pure.

Read: decoding, screening, origins; then typed_events, event_times, plain_events and joined_batches for how much is read quickly.
"""
