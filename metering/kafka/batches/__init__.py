"""Batches of records as brokers store them, read byte by byte.

Read: inflating, plain_batches, framed_records, record_batches, hole_proofs.
"""
