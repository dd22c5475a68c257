"""Tests of what every service needs to run: settings, Kafka clients, metrics, health, logs, the runner."""
