"""One service process: its settings, logs, metrics and probes, how it starts, is supervised and stops.

Read: service_command, settings, setting_values, secrets, service, supervision; then admin, health, probe, logs, metrics.
"""
