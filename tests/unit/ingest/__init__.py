"""Tests of the emitter and the gateway, without Kafka."""
