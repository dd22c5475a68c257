"""Run the console: `taximeter console`, or `python -m console [--config taximeter.toml] [--check-config]`."""

import sys
from collections.abc import Sequence

from console.app import Console
from console.settings import ConsoleSettings
from metering.kafka.clients import KafkaSettings
from metering.process.service import ServiceContext
from metering.process.service_command import Configuration, service_command
from metering.records.meters import catalogue_problems


async def show(context: ServiceContext, configuration: Configuration) -> None:
    """The service's main."""
    await Console(context, configuration.of(KafkaSettings), configuration.of(ConsoleSettings)).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    return service_command(
        show,
        name="console",
        summary="Show what each customer used, what became of it and what waits.",
        sections={"console": ConsoleSettings, "kafka": KafkaSettings},
        check_file=catalogue_problems,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
