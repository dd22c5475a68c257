"""Emit usage events from a Python service."""
