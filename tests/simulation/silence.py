"""Metrics and logs of simulated processes: nobody reads them, but for messages that say that a partition stops or that code failed."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, cast

from aggregator.metrics import AggregatorMetrics
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.process.logs import Log
from metering.workers.group_metrics import GroupMetrics
from reporter.metrics import ReporterMetrics
from tests.simulation.world import PartitionStopped, World

MENDED_BY_A_PERSON = "HistoryLost"


class _Silent:
    """Whatever is asked of it is itself, and does nothing."""

    def __getattr__(self, name: str) -> Self:
        setattr(self, name, self)
        return self

    def __call__(self, *_: object, **__: object) -> Self:
        return self


_SILENT: Any = _Silent()
GROUP_METRICS = cast("GroupMetrics", _SILENT)
AGGREGATOR_METRICS = cast("AggregatorMetrics", _SILENT)
CATALOGUE_METRICS = cast("CatalogueMetrics", _SILENT)
REPORTER_METRICS = cast("ReporterMetrics", _SILENT)


@dataclass(frozen=True, slots=True)
class ProcessLog(Log):
    """The log of a process. A partition that stops ends the run, unless `on_lost` is there for events that retention has deleted."""

    world: World
    name: str
    on_lost: Callable[[int], None] | None = None

    def bind(self, **fields: Any) -> Self:
        """See Log."""
        return type(self)(self.logger, {**self.bound, **fields}, self.world, self.name, self.on_lost)

    def error(self, message: str, **fields: Any) -> None:
        """See Log."""
        kind = fields.get("kind")
        if kind is None:
            self._write(logging.ERROR, message, fields)
        elif kind == MENDED_BY_A_PERSON and self.on_lost is not None:
            self._write(logging.ERROR, f"{message}: {fields['reason']}", fields)
            self.on_lost(self.bound["partition"])
        else:
            raise PartitionStopped(f"{self.name} stopped partition {self.bound['partition']}: {kind}: {fields['reason']}")

    def failed(self, message: str, error: BaseException, **fields: Any) -> None:
        """See Log."""
        self._write(logging.ERROR, message, fields, error)
        raise PartitionStopped(f"{self.name} stopped partition {self.bound.get('partition')}: {type(error).__name__}: {error}") from error

    def _write(self, level: int, message: str, fields: dict[str, Any], error: BaseException | None = None) -> None:
        if self.world.tracing and level > logging.DEBUG:
            told = " ".join(f"{name}={value}" for name, value in {**self.bound, **fields, "error": error}.items() if value is not None)
            self.world.note(f"{self.name}: {message} {told}")


LOGGER = logging.getLogger("simulation")
