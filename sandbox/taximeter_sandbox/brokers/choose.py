"""Choose the broker: the one that is asked for, or the first that this machine offers."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from taximeter_sandbox.brokers.apache import ApacheBroker
from taximeter_sandbox.brokers.docker_engine import DockerBroker
from taximeter_sandbox.brokers.embedded import EmbeddedBroker
from taximeter_sandbox.brokers.external import ExternalBroker
from taximeter_sandbox.brokers.interface import BrokerUnavailable, RunnableBroker

_SERVER = re.compile(r"[^\s,]+:\d+(,\s*[^\s,]+:\d+)*")


@dataclass(frozen=True, slots=True)
class Choice:
    """A broker that is not started yet, and why it is this one."""

    broker: RunnableBroker
    why: str

    def __str__(self) -> str:
        return f"{self.broker.describe()} ({self.why})"


def choose_broker(wanted: str | None = None, *, data: Path | None = None, environment: Mapping[str, str] | None = None) -> Choice:
    """The broker named by ``wanted``, else by KAFKA_BROKER, else the first of: KAFKA_BOOTSTRAP_SERVERS, Docker, Apache Kafka, embedded.

    ``wanted`` and KAFKA_BROKER are ``docker``, ``apache``, ``embedded`` or host:port. ``data`` is the folder to keep the broker's data
    in (not for Docker). Raises BrokerUnavailable when a broker named explicitly cannot be had; the order itself always ends in the
    embedded one. Blocks for minutes when Maven fetches Apache Kafka for the first time.
    """
    environment = os.environ if environment is None else environment
    if wanted:
        return Choice(_named(wanted, data), "asked for")
    if name := environment.get("KAFKA_BROKER"):
        return Choice(_named(name, data), f"KAFKA_BROKER={name}")
    if servers := environment.get("KAFKA_BOOTSTRAP_SERVERS"):
        return Choice(ExternalBroker(servers), "KAFKA_BOOTSTRAP_SERVERS")
    passed_over = []
    candidates: tuple[tuple[str, Callable[[], RunnableBroker]], ...] = (
        ("Docker", DockerBroker),
        ("Apache Kafka", lambda: ApacheBroker(data)),
    )
    for title, make in candidates:
        try:
            broker = make()
        except BrokerUnavailable as error:
            passed_over.append(f"{title}: {error}")
        else:
            return Choice(broker, _why(passed_over))
    return Choice(EmbeddedBroker(data), _why(passed_over))


def _named(wanted: str, data: Path | None) -> RunnableBroker:
    if wanted == "docker":
        return DockerBroker()
    if wanted == "apache":
        return ApacheBroker(data)
    if wanted == "embedded":
        return EmbeddedBroker(data)
    if _SERVER.fullmatch(wanted):
        return ExternalBroker(wanted)
    raise BrokerUnavailable(f"{wanted!r} is none of docker, apache, embedded or HOST:PORT")


def _why(passed_over: list[str]) -> str:
    return "; ".join(["no broker was named", *passed_over])
