"""Apache Kafka in a container, where a Docker engine answers."""

import contextlib
import os
import socket
from typing import Any

from taximeter_sandbox.brokers.broker_properties import COMMON, ONE_NODE
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.brokers.readiness import free_port, wait_until_answers

_IMAGE = "apache/kafka:4.4.0"
_HOST = "127.0.0.1"
_PING_TIMEOUT_S = 3
_START_TIMEOUT_S = 120.0


class DockerBroker:
    """One ``apache/kafka`` container through testcontainers, its port bound to 127.0.0.1."""

    name = "docker"

    def __init__(self) -> None:
        """Check that an engine answers. Raises BrokerUnavailable, within seconds."""
        self._engine_version = _engine_version()
        self._container: Any = None
        self._port = 0

    def describe(self) -> str:
        """One line for people."""
        return f"{_IMAGE} on Docker {self._engine_version}, KRaft, one node"

    def start(self) -> str:
        """Pull the image if need be and start on a free port. Raises BrokerUnavailable."""
        # Only the tests and the demo have testcontainers installed.
        from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415  # ships no types
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415

        self._port = free_port(_HOST)
        properties = {
            **COMMON,
            **ONE_NODE,
            "listeners": "BROKER://:9092,CONTROLLER://:9093",
            "advertised.listeners": f"BROKER://{_HOST}:{self._port}",
            "controller.quorum.voters": "1@localhost:9093",
        }
        container = DockerContainer(_IMAGE).with_bind_ports(9092, self._port)
        for name, value in properties.items():
            container = container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
        try:
            container.start()
            self._container = container
            wait_until_answers(_HOST, self._port, timeout_s=_START_TIMEOUT_S, death=self._death)
        except DockerException as error:
            raise BrokerUnavailable(f"the Docker engine cannot run {_IMAGE}: {error}") from error
        except BrokerUnavailable:
            self.stop()
            raise
        return f"{_HOST}:{self._port}"

    def kill(self) -> None:
        """SIGKILL to the container; its data stays."""
        if self._container is not None:
            self._container.get_wrapped_container().kill()

    def restart(self) -> str:
        """Start the killed container again. Raises BrokerUnavailable."""
        assert self._container is not None, "restart comes after start"
        self._container.get_wrapped_container().start()
        wait_until_answers(_HOST, self._port, timeout_s=_START_TIMEOUT_S, death=self._death)
        return f"{_HOST}:{self._port}"

    def stop(self) -> None:
        """Stop and remove the container."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def _death(self) -> str | None:
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status in {"created", "running", "restarting"}:
            return None
        return f"the container is {container.status}: {container.logs(tail=20).decode(errors='replace')[-500:]}"


def _engine_version() -> str:
    _check_socket(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        # Only the tests and the demo have testcontainers, which brings this, installed.
        import docker  # type: ignore[import-untyped]  # noqa: PLC0415  # ships no types
        from docker.errors import DockerException  # noqa: PLC0415
        from requests.exceptions import RequestException  # noqa: PLC0415
        from testcontainers.core.container import DockerContainer  # noqa: F401, PLC0415
    except ImportError as error:
        raise BrokerUnavailable(f"testcontainers is not installed ({error.name})") from error
    try:
        with contextlib.closing(docker.from_env(timeout=_PING_TIMEOUT_S)) as client:
            return str(client.version()["Version"])
    except (DockerException, RequestException) as error:
        raise BrokerUnavailable(f"no Docker engine answers ({type(error).__name__})") from error


def _check_socket(address: str) -> None:
    """Whether anything listens where the engine should be. Docker's own library is slow to say no, and forgets to close its socket."""
    scheme, _, rest = address.partition("://")
    if scheme not in {"unix", "tcp"}:
        return
    try:
        if scheme == "unix":
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_PING_TIMEOUT_S)
                probe.connect(rest)
        else:
            host, _, port = rest.rstrip("/").rpartition(":")
            socket.create_connection((host, int(port)), timeout=_PING_TIMEOUT_S).close()
    except (OSError, ValueError) as error:
        raise BrokerUnavailable(f"no Docker engine at {address}") from error
