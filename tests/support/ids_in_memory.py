"""Archives of ids for a counter whose process leaves nothing behind."""

from taximeter_emitter.wire.limits import DAY_MS

from aggregator.snapshots import IdSnapshots
from metering.process.logs import get_log


def in_memory(horizon_ms: int = DAY_MS) -> IdSnapshots:
    """Snapshots that are never written nor found."""
    return IdSnapshots(None, topic="usage.events", horizon_ms=horizon_ms, log=get_log("test"))
