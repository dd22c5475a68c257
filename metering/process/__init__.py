"""One service process: its settings, logs, metrics and probes; its start, supervision and stop.

Read: service_command, service, supervision; then listener, admin, health, probe, logs, metrics, atomic_files.
"""
