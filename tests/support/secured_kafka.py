"""One Apache Kafka whose clients come over TLS and prove who they are, with a certificate made for it."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from taximeter_sandbox.brokers.apache_jars import find_apache_kafka
from taximeter_sandbox.brokers.apache_node import ApacheNode, new_cluster_id
from taximeter_sandbox.brokers.broker_properties import COMMON, ONE_NODE
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.brokers.readiness import free_port

USER, PASSWORD = "metering", "planted-secret"
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class SecuredKafka:
    """Where it is, the certificate that signs its own, and another that signs nothing of it."""

    bootstrap: str
    cafile: Path
    other_cafile: Path


@contextmanager
def secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """A node with a listener for SASL_SSL with SCRAM. Skips the test, by name of what is missing, where it cannot run."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, which makes the certificate")
    try:
        kafka = find_apache_kafka()
    except BrokerUnavailable as missing:
        pytest.skip(f"no Apache Kafka: {missing}")
    certificate, key = certificate_in(folder, "broker")
    other, _ = certificate_in(folder, "other")
    store = folder / "broker.pem"
    store.write_text(key.read_text() + certificate.read_text())
    client, broker, controller = (free_port(_HOST) for _ in range(3))
    properties = {
        **COMMON,
        **ONE_NODE,
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CLIENT:SASL_SSL,CONTROLLER:PLAINTEXT",
        "listeners": f"CLIENT://{_HOST}:{client},BROKER://{_HOST}:{broker},CONTROLLER://{_HOST}:{controller}",
        "advertised.listeners": f"CLIENT://{_HOST}:{client},BROKER://{_HOST}:{broker}",
        "controller.quorum.voters": f"1@{_HOST}:{controller}",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.scram-sha-512.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required;",
        "listener.name.client.ssl.keystore.type": "PEM",
        "listener.name.client.ssl.keystore.location": str(store),
    }
    node = ApacheNode(kafka, folder / "kafka", properties, heap=("-Xms128m", "-Xmx320m"))
    try:
        node.format(new_cluster_id(), users={USER: PASSWORD})
        node.launch()
        _wait_for(node, client)
        yield SecuredKafka(f"{_HOST}:{client}", certificate, other)
    finally:
        node.terminate(0.0)


def certificate_in(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for this machine's own address that signs itself, and its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    command += ["-addext", f"subjectAltName=IP:{_HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _wait_for(node: ApacheNode, port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((_HOST, port), timeout=1).close()
            return
        except OSError:
            assert node.death() is None, node.death()
            assert time.monotonic() < deadline, "Apache Kafka does not listen"
            time.sleep(0.05)
