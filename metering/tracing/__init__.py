"""Spans of OpenTelemetry: which request they belong to, and how they get to a collector, if there is one. Off by default.

Read: trace_context, spans, span_encoding, span_exporter, span_maker.
"""
