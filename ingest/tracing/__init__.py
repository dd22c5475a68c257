"""Spans of requests and of their appends to Kafka. Nothing of it runs where no collector is configured.

Read: request_spans, append_spans.
"""
