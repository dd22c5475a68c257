"""Choosing, starting and cleaning up brokers."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from taximeter_sandbox.brokers import choose
from taximeter_sandbox.brokers.apache_cluster import ApacheCluster
from taximeter_sandbox.brokers.child_process import ChildProcess
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.embedded import EmbeddedBroker
from taximeter_sandbox.brokers.external import ExternalBroker
from taximeter_sandbox.brokers.interface import BrokerCannot, BrokerUnavailable, RunnableBroker
from taximeter_sandbox.brokers.readiness import answers, free_port

from taximeter.cli import main
from taximeter.exit_codes import USAGE


def _unavailable(reason: str) -> RunnableBroker:
    raise BrokerUnavailable(reason)


def test_a_named_broker_is_taken_before_the_environment() -> None:
    environment = {"KAFKA_BROKER": "somewhere:1", "KAFKA_BOOTSTRAP_SERVERS": "elsewhere:2"}
    assert choose_broker("embedded", environment=environment).broker.name == "embedded"
    assert choose_broker("kafka-1:9092,kafka-2:9092", environment=environment).broker.describe() == "the Kafka at kafka-1:9092,kafka-2:9092"
    assert choose_broker(environment=environment).broker.describe() == "the Kafka at somewhere:1"
    assert choose_broker(environment={"KAFKA_BOOTSTRAP_SERVERS": "elsewhere:2"}).broker.describe() == "the Kafka at elsewhere:2"


def test_the_embedded_broker_is_the_last_resort_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "DockerBroker", lambda: _unavailable("no engine"))
    monkeypatch.setattr(choose, "ApacheBroker", lambda _data: _unavailable("no Maven"))
    chosen = choose_broker(environment={})
    assert chosen.broker.name == "embedded"
    assert "Docker: no engine" in str(chosen)
    assert "Apache Kafka: no Maven" in str(chosen)


def test_a_broker_that_was_named_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "ApacheBroker", lambda _data: _unavailable("no Maven"))
    with pytest.raises(BrokerUnavailable, match="no Maven"):
        choose_broker("apache")
    with pytest.raises(BrokerUnavailable, match="none of docker, apache, embedded"):
        choose_broker("rabbit")


def test_without_java_or_maven_the_reason_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokerUnavailable, match=r"^no Java$"):
        choose_broker("apache")
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    with pytest.raises(BrokerUnavailable, match=r"^Java 11, Apache Kafka 4 needs 17$"):
        choose_broker("apache")
    old.write_text("#!/bin/sh\necho 'openjdk version \"21.0.2\"' >&2\n")
    with pytest.raises(BrokerUnavailable, match=r"^no Maven$"):
        choose_broker("apache")
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[INFO] x'\necho '[ERROR] Could not transfer artifact'\nexit 1\n")
    maven.chmod(0o755)
    with pytest.raises(BrokerUnavailable, match=r"Maven cannot resolve Apache Kafka: .*Could not transfer artifact"):
        choose_broker("apache")
    assert not list((tmp_path / "taximeter").iterdir())


def test_somebody_elses_broker_is_checked_and_never_touched() -> None:
    nobody = ExternalBroker(f"127.0.0.1:{free_port('127.0.0.1')}")
    with pytest.raises(BrokerUnavailable, match="no Kafka broker answers"):
        nobody.start()
    for forbidden in (nobody.kill, nobody.restart):
        with pytest.raises(BrokerCannot):
            forbidden()


def test_something_that_is_no_kafka_does_not_count_as_one() -> None:
    def speak(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        speaker = threading.Thread(target=speak, args=(listener,))
        speaker.start()
        assert not answers("127.0.0.1", listener.getsockname()[1])
        speaker.join()


def test_the_embedded_broker_starts_restarts_on_its_port_and_leaves_nothing() -> None:
    broker = EmbeddedBroker()
    bootstrap = broker.start()
    host, _, port = bootstrap.rpartition(":")
    try:
        assert ExternalBroker(bootstrap).start() == bootstrap
        broker.kill()
        assert not answers(host, int(port))
        assert broker.restart() == bootstrap
        folder = broker._data
        assert folder is not None
        assert folder.exists()
    finally:
        broker.stop()
    assert not answers(host, int(port))
    assert not folder.exists()


def test_a_cluster_has_three_brokers_or_more(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BrokerUnavailable, match="three copies need three"):
        ApacheCluster(brokers=2)
    assert main(["broker", "--brokers", "3"]) == USAGE
    assert "--kafka apache --brokers 3" in capsys.readouterr().err
    assert main(["broker", "--kafka", "apache", "--host", "0.0.0.0"]) == USAGE


def test_data_in_a_folder_of_the_callers_is_kept(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path / "kept")
    broker.start()
    broker.stop()
    assert (tmp_path / "kept" / "cluster.json").exists()


def test_a_broker_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "topics.json").write_text("no catalogue")
    with pytest.raises(BrokerUnavailable, match=r"(?s)exit code 1.*Expecting value"):
        EmbeddedBroker(tmp_path).start()


def test_a_child_dies_with_its_parent_even_by_kill_9(tmp_path: Path) -> None:
    program = (
        "import pathlib, sys, time\n"
        "from taximeter_sandbox.brokers.child_process import ChildProcess\n"
        "child = ChildProcess([sys.executable, '-c', 'import time; time.sleep(600)'], pathlib.Path(sys.argv[1]))\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while _runs(child):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def test_a_child_that_ignores_sigterm_is_killed_with_its_own_children(tmp_path: Path) -> None:
    child = ChildProcess(["/bin/sh", "-c", "trap '' TERM; sleep 600 & echo $!; while :; do sleep 1; done"], tmp_path / "log")
    deadline = time.monotonic() + 10
    while not (tail := child.log_tail()).isdecimal():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert child.exit_code() is None
    assert child.terminate(0.3) == -signal.SIGKILL
    while _runs(int(tail)):
        assert time.monotonic() < deadline, "a grandchild outlived the group"
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that nobody has collected yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
