"""From the bytes of records to events as columns. Pure.

Read: events, series, readers; then decoding and origins for one record, plain_reader with typed_events and event_times for many, and native_reader.
"""
