"""Publishes a version of the catalogue, and learns from the log whether it counts."""

from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.folds.catalogue_timeline import NOTICE_MS_MIN, CatalogueVersion
from metering.following.catalogue_log import CatalogueLog
from metering.kafka.partition_log import Appender
from metering.records.meters import Catalogue
from metering.records.notes.publication import Publication

NOTICE_MS_DEFAULT: Final = NOTICE_MS_MIN + 5 * MINUTE_MS  # so that it is written in time, also by a clock that is a little behind


class NotPublished(TaximeterError):
    """The version does not hold, and will not; nothing changes. The message says why."""


class Publishing:
    """Of one command. `log` is read before, and what it had is what the writer has seen."""

    def __init__(self, log: CatalogueLog, appender: Appender, clock: Clock) -> None:
        self._log = log
        self._appender = appender
        self._clock = clock

    async def publish(self, catalogue: Catalogue, *, from_ms: int | None, reason: str, by: str) -> CatalogueVersion:
        """Write it. `from_ms`: the log time, Unix ms, from which it holds; None: a little ahead, by this host's clock.

        Blocks on Kafka. Raises NotPublished if it does not count, LogUnavailable if it may: `taximeter meters list` says whether it does.
        """
        published, now_ms = self._log.published, self._clock.now_ms()
        if not published.versions:
            raise NotPublished("nothing is published yet: the first start of an aggregator publishes the meters of its settings file")
        after_last = published.versions[-1].from_ms + MINUTE_MS
        about = Publication(
            published.head,
            max(now_ms + NOTICE_MS_DEFAULT, after_last) if from_ms is None else from_ms,
            catalogue.version,
            catalogue.definition,
            reason,
            by,
            now_ms,
        )
        objection = published.objection(about, now_ms)
        if objection is not None:
            raise NotPublished(objection)
        landed = await self._log.publish(self._appender, about)
        found = next((version for version in published.versions if version.offset == landed.offset), None)
        if found is None:
            apart = (landed.log_time_ms - now_ms) // 1000
            raise NotPublished(
                f"it was written at offset {landed.offset} and does not count: another version came first, or it was written too late"
                f" (Kafka's clock is {apart} s ahead of this host's, or that long passed). Look again: taximeter meters plan"
            )
        return found
