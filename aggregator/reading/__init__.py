"""From the bytes of records to events, and which of them must not be counted. Pure.

Read: decoding, screening, origins; then plain_events, event_shapes and joined_batches for how much is read quickly.
"""
