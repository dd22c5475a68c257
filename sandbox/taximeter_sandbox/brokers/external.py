"""A broker that somebody else runs."""

from taximeter_sandbox.brokers.interface import BrokerCannot, BrokerUnavailable
from taximeter_sandbox.brokers.readiness import answers


class ExternalBroker:
    """The brokers at ``bootstrap`` (comma-separated host:port); never started, stopped or killed by us."""

    name = "external"

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    def describe(self) -> str:
        """One line for people."""
        return f"the Kafka at {self._bootstrap}"

    def start(self) -> str:
        """Check that one of the servers answers. Raises BrokerUnavailable."""
        for server in self._bootstrap.split(","):
            host, _, port = server.strip().rpartition(":")
            if host and port.isdecimal() and answers(host.strip("[]"), int(port)):
                return self._bootstrap
        raise BrokerUnavailable(f"no Kafka broker answers at {self._bootstrap}")

    def stop(self) -> None:
        """No process of the sandbox runs."""

    def kill(self) -> None:
        """Raises BrokerCannot."""
        raise BrokerCannot(f"{self._bootstrap} is not ours to kill")

    def restart(self) -> str:
        """Raises BrokerCannot."""
        raise BrokerCannot(f"{self._bootstrap} is not ours to restart")
