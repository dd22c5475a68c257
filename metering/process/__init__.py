"""One service process: its settings, logs, metrics and probes; its start, supervision and stop.

Read: service_command, settings, service, supervision; then listener, admin, health, logs, metrics, atomic_files.
"""
