"""How the commands find Kafka: the same settings, file and variables that the services take."""

import argparse
import os
import sys
from collections.abc import Mapping

from aggregator.settings import AggregatorSettings
from metering.configuration.settings import SettingsError
from metering.kafka.clients import KafkaSettings
from metering.process.service_command import Configuration, load_configuration
from reporter.settings import ReporterSettings
from taximeter.exit_codes import USAGE


class NotConfigured(SystemExit):
    """The configuration cannot be used; what is wrong is on stderr already."""

    def __init__(self) -> None:
        super().__init__(USAGE)


def kafka_settings(arguments: argparse.Namespace) -> KafkaSettings:
    """From the environment and the settings file. Raises NotConfigured."""
    return _loaded({"kafka": KafkaSettings}, arguments).of(KafkaSettings)


def group_ids(arguments: argparse.Namespace) -> dict[str, str]:
    """The consumer group of each service that owns partitions. Raises NotConfigured."""
    found = _loaded({"kafka": KafkaSettings, "aggregator": AggregatorSettings, "reporter": ReporterSettings}, arguments)
    kafka = found.of(KafkaSettings)
    chosen = {"aggregator": found.of(AggregatorSettings).group_id, "reporter": found.of(ReporterSettings).group_id}
    return {service: kafka.group_id(service, group) for service, group in chosen.items()}


def _loaded(sections: Mapping[str, type], arguments: argparse.Namespace) -> Configuration:
    try:
        return load_configuration(sections, environ=os.environ, file=arguments.config)
    except SettingsError as error:
        for problem in error.problems:
            print(f"taximeter: {problem}", file=sys.stderr)
        raise NotConfigured from None
