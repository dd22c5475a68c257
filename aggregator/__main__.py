"""Run the aggregator: `python -m aggregator [--config taximeter.toml] [--check-config]`."""

import sys
from collections.abc import Sequence

from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from metering.kafka.clients import KafkaSettings
from metering.process.service import ServiceContext
from metering.process.service_command import Configuration, service_command
from metering.records.meters import catalogue_of, catalogue_problems
from metering.tracing.settings import TracingSettings
from metering.tracing.span_maker import tracing_to


async def aggregate(context: ServiceContext, configuration: Configuration) -> None:
    """The service's main."""
    settings, kafka = configuration.of(AggregatorSettings), configuration.of(KafkaSettings)
    async with tracing_to(configuration.of(TracingSettings), context) as span_maker:
        await Aggregator(context, kafka, settings, catalogue_of(configuration.file), span_maker).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    return service_command(
        aggregate,
        name="aggregator",
        summary="Count usage events per customer, meter and window, each exactly once.",
        sections={"aggregator": AggregatorSettings, "kafka": KafkaSettings, "tracing": TracingSettings},
        check_file=catalogue_problems,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
