"""Soak: the whole pipeline under steady load for an hour; nothing may grow. `python -m tests.soak --minutes 60 --rate 15000`."""
