"""What a spool raises; apart from `spool`, so that an emitter without a spool loads no database."""

from taximeter_emitter.wire.errors import TaximeterError


class SpoolFailed(TaximeterError):
    """The disk does not take or give what it should: full, read-only or damaged."""
