"""Follows the versions of the catalogue while a service runs, and says whether the settings file of the service says the same."""

from typing import Final

from taximeter_emitter.clock import Clock

from metering.folds.catalogue_timeline import CLOCKS_APART_MS, NOTICE_MS_MIN, CatalogueTimeline
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.following.followed_topic import first_read
from metering.kafka.partition_log import Appender, LogUnavailable
from metering.process.logs import Log, RateLimited
from metering.process.service import ServiceContext
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import FailClosed
from metering.records.meters import Catalogue
from metering.records.notes.publication import FROM_THE_BEGINNING, Publication

CATALOGUE_SECONDS: Final = 30.0


class CatalogueFollowing:
    """`file` is the catalogue of the settings file. With a `founder` it is published where nothing is."""

    def __init__(
        self, log: CatalogueLog, file: Catalogue, *, founder: Appender | None, metrics: CatalogueMetrics, clock: Clock, notices: Log
    ) -> None:
        self.timeline = CatalogueTimeline()
        self._log = log
        self._file = file
        self._founder = founder
        self._metrics = metrics
        self._clock = clock
        self._notices = notices
        self._warnings = RateLimited(clock)
        self._seen_ms = 0
        self._trouble: str | None = None

    def note(self, log_time_ms: int) -> None:
        """A broker has written this log time to a record that is there."""
        self._seen_ms = max(self._seen_ms, log_time_ms)

    async def look(self, log_time_ms: int = 0) -> CatalogueTimeline:
        """Read to the end of the topic, after a record of this log time came. From then on what is counted next to it is known.

        Blocks on Kafka; raises LogUnavailable or FailClosed.
        """
        self.note(log_time_ms)
        seen_ms = self._seen_ms
        await self._log.read_on()
        published = self._log.published
        if not published.versions and self._founder is not None:
            about = Publication(
                NO_OFFSET, FROM_THE_BEGINNING, self._file.version, self._file.definition, "the first start", "aggregator", self._clock.now_ms()
            )
            await self._log.publish(self._founder, about)
        known_until_ms = max(self.timeline.known_until_ms, seen_ms + NOTICE_MS_MIN - CLOCKS_APART_MS)
        if (published.versions, known_until_ms) != (self.timeline.versions, self.timeline.known_until_ms):
            self._take(CatalogueTimeline(published.versions, known_until_ms))
        self._trouble = None
        return self.timeline

    async def begin(self, context: ServiceContext) -> bool:
        """Read the versions once, then go on in the background, and tell the probes. False if the service is to stop before Kafka answers.

        Raises RefusedToStart if what is published cannot be used.
        """
        if not await first_read(context, self.look, "the versions of the catalogue", clock=self._clock, notices=self._notices):
            return False
        context.health.require("catalogue", self.trouble)
        context.health.mention("catalogue_file", self.difference)
        context.spawn("catalogue", self.run(), background=True)
        return True

    async def run(self) -> None:
        """Look now and then, until cancelled. Trouble is said, and tried again."""
        while True:
            try:
                await self.look()
            except (LogUnavailable, FailClosed) as error:
                self._trouble = f"the versions of the catalogue cannot be read: {error}"
                self._warnings.warning(self._notices, "the versions of the catalogue cannot be read", reason=str(error))
            self._metrics.show(self.timeline, self._clock.now_ms(), follows=self._trouble is None, file_differs=self.difference() is not None)
            await self._clock.sleep(CATALOGUE_SECONDS)

    def trouble(self) -> str | None:
        """Why the topic cannot be followed, in words; None if it can."""
        return self._trouble

    def difference(self) -> str | None:
        """That the settings file says something else than the log, in words; None if it does not, or nothing is published."""
        versions = self.timeline.serving(self._clock.now_ms())
        if not versions or self._file.version in {version.catalogue.version for version in versions}:
            return None
        return (
            f"the meters of the settings file are version {self._file.version}, and version {versions[-1].catalogue.version} (number"
            f" {versions[-1].number}) is published: usage is counted by that one. To change it: taximeter meters plan"
        )

    def _take(self, timeline: CatalogueTimeline) -> None:
        new = timeline.versions[len(self.timeline.versions) :]
        self.timeline = timeline
        for version in new:
            self._notices.info(
                "a version of the catalogue is published",
                number=version.number,
                version=version.catalogue.version,
                holds_from_ms=version.from_ms,
                by=version.by,
                reason=version.reason,
            )
        difference = self.difference() if new else None
        if difference is not None:
            self._notices.warning("the settings file has other meters than the log", difference=difference)
