"""Ask a Kafka-protocol broker whether it answers, without a client library: one ApiVersions request on a bare socket."""

import socket
import struct
import time
from collections.abc import Callable

from taximeter_sandbox.brokers.interface import BrokerUnavailable

_CLIENT_ID = b"taximeter-readiness"
# ApiVersions (18) version 0, correlation id 1: the one request that every broker of every age answers.
_BODY = struct.pack(">hhih", 18, 0, 1, len(_CLIENT_ID)) + _CLIENT_ID
_REQUEST = struct.pack(">i", len(_BODY)) + _BODY
_ANSWER_BYTES_MIN = 10
_ATTEMPT_TIMEOUT_S = 2.0
_PAUSE_S = 0.05


def answers(host: str, port: int) -> bool:
    """Whether a broker answers there now. Blocks for up to two seconds."""
    try:
        with socket.create_connection((host, port), timeout=_ATTEMPT_TIMEOUT_S) as connection:
            connection.sendall(_REQUEST)
            received = b""
            while len(received) < _ANSWER_BYTES_MIN:
                part = connection.recv(4096)
                if not part:
                    return False
                received += part
            _, correlation_id, error = struct.unpack_from(">iih", received)
            return bool(correlation_id == 1 and error == 0)
    except OSError:
        return False


def wait_until_answers(host: str, port: int, *, timeout_s: float, death: Callable[[], str | None]) -> None:
    """Wait for a broker that is starting; ``death`` says why it will never answer, or None.

    Raises BrokerUnavailable after ``timeout_s`` or when it has died.
    """
    deadline = time.monotonic() + timeout_s
    while not answers(host, port):
        reason = death()
        if reason is not None:
            raise BrokerUnavailable(reason)
        if time.monotonic() > deadline:
            raise BrokerUnavailable(f"no answer on {host}:{port} within {timeout_s:.0f} s")
        time.sleep(_PAUSE_S)


def free_port(host: str) -> int:
    """A port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
