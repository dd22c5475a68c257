"""The other cluster of a move, and what all commands of this folder ask and answer."""

import argparse
import sys
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import orjson
from aiokafka.errors import KafkaError

from metering.configuration.settings import SettingsError
from metering.copying.copied_topics import NotACopy
from metering.copying.copy_target import CopyDiverged
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.process.service_command import load_configuration
from metering.records.fail_closed import FailClosed
from reporter.adopting import NotAdoptable
from taximeter.connection import NotConfigured
from taximeter.exit_codes import DISCREPANCY, FAILED, INTERRUPTED, PRECONDITION


class NothingDone(Exception):
    """The command ends without having done anything; the message says why."""


def other_cluster(arguments: argparse.Namespace, own: KafkaSettings) -> KafkaSettings | None:
    """How to reach the other cluster; None if none was named. Raises NotConfigured."""
    if arguments.servers_file is not None:
        try:
            return load_configuration({"kafka": KafkaSettings}, environ={}, file=arguments.servers_file).of(KafkaSettings)
        except SettingsError as error:
            for problem in error.problems:
                print(f"taximeter: {problem}", file=sys.stderr)
            raise NotConfigured from None
    if arguments.servers is None:
        return None
    return replace(own, bootstrap_servers=tuple(arguments.servers.split(",")))


def check_asking(arguments: argparse.Namespace) -> None:
    """Raise NothingDone where nobody can be asked, and --yes is not given."""
    if not arguments.yes and (arguments.json or not sys.stdin.isatty()):
        raise NothingDone("nobody can be asked here: add --yes")


def check_agreed(arguments: argparse.Namespace, question: str) -> None:
    """Ask, unless --yes is given. Raises NothingDone."""
    if not arguments.yes and input(f"{question} [y/N] ").strip().lower() not in {"y", "yes"}:
        raise NothingDone("nothing was done")


def answered(work: Callable[[], Coroutine[None, None, int]], run: Callable[[Coroutine[None, None, int]], int], *, again: str) -> int:
    """The exit code of a command; what went wrong is on stderr. `again`: what to say when it can be repeated."""
    try:
        return run(work())
    except (NothingDone, NotAdoptable, NotACopy, CopyDiverged) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    except (LogUnavailable, KafkaError) as error:
        print(f"taximeter: {error or type(error).__name__}; {again}", file=sys.stderr)
        return PRECONDITION
    except FailClosed as error:
        print(f"taximeter: the log cannot be trusted: {error}", file=sys.stderr)
        return DISCREPANCY
    except KeyboardInterrupt:
        print(f"taximeter: interrupted; {again}", file=sys.stderr)
        return INTERRUPTED


def print_document(document: dict[str, Any]) -> None:
    """JSON for `--json`."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
