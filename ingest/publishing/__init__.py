"""Puts the events of many requests into shared batches, sends the batches to Kafka, and tells each request what became of its events.

Read: emitter_batches, pending_requests, staging, partition_lanes, publisher, abandoned_numbers.
"""
