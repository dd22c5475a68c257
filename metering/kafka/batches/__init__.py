"""Batches of records as brokers store them, read byte by byte.

Read: inflating, plain_batches, record_batches, hole_proofs.
"""
