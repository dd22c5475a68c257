"""Meters, their events, the asynchronous plane that processes them, and the exact books."""
