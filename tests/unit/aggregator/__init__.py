"""Tests of the aggregator's core."""
