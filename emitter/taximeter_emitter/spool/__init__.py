"""Batches that Kafka does not have yet: in memory, and on disk while Kafka is away.

Read: encoded_batch, outbox, spool, unsent.
"""
