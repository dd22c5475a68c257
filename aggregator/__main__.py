"""Run the aggregator: `python -m aggregator [--config taximeter.toml] [--check-config]`."""

import sys
from collections.abc import Sequence

from aggregator.app import Aggregator
from aggregator.settings import AggregatorSettings
from metering.kafka.clients import KafkaSettings
from metering.process.service import ServiceContext
from metering.process.service_command import Configuration, service_command
from metering.records.meters import catalogue_of, catalogue_problems


async def aggregate(context: ServiceContext, configuration: Configuration) -> None:
    """The service's main."""
    settings, kafka = configuration.of(AggregatorSettings), configuration.of(KafkaSettings)
    await Aggregator(context, kafka, settings, catalogue_of(configuration.file)).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    return service_command(
        aggregate,
        name="aggregator",
        summary="Count usage events per customer, meter and window, each exactly once.",
        sections={"aggregator": AggregatorSettings, "kafka": KafkaSettings},
        check_file=catalogue_problems,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
