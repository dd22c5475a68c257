"""The state of the broker: its topics, their configuration, and the faults that are armed."""
