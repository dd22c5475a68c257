"""Run the gateway: `python -m ingest [--config taximeter.toml] [--check-config]`."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.app import Gateway
from ingest.mappings.foreign_paths import foreign_paths, mapping_problems
from ingest.requests.event_age import HORIZON_KEY, HORIZON_VARIABLE, age_max_ms
from ingest.settings import GatewaySettings
from metering.kafka.clients import KafkaSettings
from metering.process.service import ServiceContext, fast_event_loop
from metering.process.service_command import Configuration, service_command
from metering.records.meters import catalogue_of, catalogue_problems
from metering.tracing.settings import TracingSettings
from metering.tracing.span_maker import tracing_to


async def take_events(context: ServiceContext, configuration: Configuration) -> None:
    """Run one gateway in this context."""
    settings, kafka = configuration.of(GatewaySettings), configuration.of(KafkaSettings)
    document = configuration.file
    foreign = foreign_paths(document).values()
    catalogue, ages = catalogue_of(document), age_max_ms(os.environ, document)
    async with tracing_to(configuration.of(TracingSettings), context) as span_maker:
        await Gateway(context, kafka, settings, catalogue=catalogue, foreign=foreign, age_max_ms=ages, span_maker=span_maker).run()


def file_problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with the parts of the settings file that are not the gateway's own."""
    problems = [*catalogue_problems(document), *mapping_problems(document)]
    try:
        age_max_ms(os.environ, document)
    except (TypeError, ValueError, OverflowError):
        problems.append(f"{HORIZON_KEY} in [aggregator] (or {HORIZON_VARIABLE}) is not a number of seconds")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal stops the gateway; returns the exit code."""
    return service_command(
        take_events,
        name="gateway",
        module="ingest",
        summary="Take usage events over HTTP and make them durable in Kafka.",
        sections={"gateway": GatewaySettings, "kafka": KafkaSettings, "tracing": TracingSettings},
        check_file=file_problems,
        arguments=arguments,
        # CPU-seconds per million events, medians of 13 alternating runs on a busy machine: with 100 events a request 9.04, and 9.66 on the
        # standard loop; with one event a request 167 and 179. The gain is small: single runs differ by more.
        new_event_loop=fast_event_loop,
    )


if __name__ == "__main__":
    sys.exit(main())
