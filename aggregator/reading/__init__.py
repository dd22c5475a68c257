"""From the bytes of records to events as columns. Pure.

Read: events, series, readers, decoding, origins, plain_reader, typed_events, event_times, native_reader.
"""
