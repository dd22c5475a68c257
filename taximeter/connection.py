"""How the commands find Kafka: the same settings, file and variables that the services take."""

import argparse
import os
import sys

from metering.configuration.settings import SettingsError
from metering.kafka.clients import KafkaSettings
from metering.process.service_command import load_configuration
from taximeter.exit_codes import USAGE


class NotConfigured(SystemExit):
    """The configuration cannot be used; what is wrong is on stderr already."""

    def __init__(self) -> None:
        super().__init__(USAGE)


def kafka_settings(arguments: argparse.Namespace) -> KafkaSettings:
    """From the environment and the settings file. Raises NotConfigured."""
    try:
        return load_configuration({"kafka": KafkaSettings}, environ=os.environ, file=arguments.config).of(KafkaSettings)
    except SettingsError as error:
        for problem in error.problems:
            print(f"taximeter: {problem}", file=sys.stderr)
        raise NotConfigured from None
