"""How the commands find Kafka: the same settings, file and variables that the services take."""

import argparse
import asyncio
import os
import sys
from collections.abc import Coroutine, Mapping
from typing import Any

from aggregator.settings import AggregatorSettings
from metering.configuration.settings import SettingsError
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.process.service_command import Configuration, FileCheck, load_configuration
from metering.records.fail_closed import FailClosed
from reporter.settings import ReporterSettings
from taximeter.exit_codes import DISCREPANCY, FAILED, PRECONDITION, USAGE


class NotConfigured(SystemExit):
    """The configuration cannot be used; what is wrong is on stderr already."""

    def __init__(self) -> None:
        super().__init__(USAGE)


def kafka_settings(arguments: argparse.Namespace) -> KafkaSettings:
    """From the environment and the settings file. Raises NotConfigured."""
    return configuration_of(arguments, {"kafka": KafkaSettings}).of(KafkaSettings)


def group_ids(arguments: argparse.Namespace) -> dict[str, str]:
    """The consumer group of each service that owns partitions. Raises NotConfigured."""
    found = configuration_of(arguments, {"kafka": KafkaSettings, "aggregator": AggregatorSettings, "reporter": ReporterSettings})
    kafka = found.of(KafkaSettings)
    chosen = {"aggregator": found.of(AggregatorSettings).group_id, "reporter": found.of(ReporterSettings).group_id}
    return {service: kafka.group_id(service, group) for service, group in chosen.items()}


def configuration_of(arguments: argparse.Namespace, sections: Mapping[str, type], *, check_file: FileCheck = lambda _: ()) -> Configuration:
    """These sections, from the environment and the settings file. Raises NotConfigured.

    `check_file` returns the problems of everything in the file that is not a setting.
    """
    try:
        return load_configuration(sections, environ=os.environ, file=arguments.config, check_file=check_file)
    except SettingsError as error:
        for problem in error.problems:
            print(f"taximeter: {problem}", file=sys.stderr)
        raise NotConfigured from None


def run_on_logs(command: Coroutine[Any, Any, int], *, refusals: tuple[type[Exception], ...] = (), about: str = "", interrupted: str = "") -> int:
    """Run a command that reads or writes the logs, and return its exit code; what went wrong is on stderr.

    `refusals` are the command's own exceptions, code 1; `about` is put before what they say, `interrupted` after what is wrong with Kafka.
    """
    try:
        return asyncio.run(command)
    except refusals as error:
        print(f"taximeter: {about}{error}", file=sys.stderr)
        return FAILED
    except LogUnavailable as error:
        print(f"taximeter: {error}{interrupted}", file=sys.stderr)
        return PRECONDITION
    except FailClosed as error:
        print(f"taximeter: the log cannot be trusted: {error}", file=sys.stderr)
        return DISCREPANCY
