"""`taximeter broker`: run the embedded Kafka-protocol broker, or Apache Kafka, in the foreground."""

import argparse
import importlib.util
import os
import signal
import sys
import threading
from typing import Final

from taximeter.exit_codes import OK, PRECONDITION, USAGE

_EMBEDDED: Final = "embedded"
_LOOPBACK: Final = "127.0.0.1"


def run(arguments: argparse.Namespace) -> int:
    """Run the broker until Ctrl-C or SIGTERM. Raises OSError when the embedded one cannot be started."""
    if arguments.kafka == _EMBEDDED:
        if arguments.brokers != 1:
            print("taximeter: the embedded broker is one broker; a cluster is --kafka apache --brokers 3", file=sys.stderr)
            return USAGE
        return _become_embedded(arguments)
    if arguments.host != _LOOPBACK:
        print(f"taximeter: --kafka apache listens on {_LOOPBACK} only", file=sys.stderr)
        return USAGE
    return _run_apache(arguments)


def _become_embedded(arguments: argparse.Namespace) -> int:
    if importlib.util.find_spec("kio") is None:
        print("taximeter: the embedded broker needs the extra: pip install 'taximeter[simulators]'", file=sys.stderr)
        return PRECONDITION
    options = ["--data", str(arguments.data), "--host", arguments.host, "--port", str(arguments.port)]
    sys.stdout.flush()
    return os.execv(sys.executable, [sys.executable, "-m", "taximeter_sandbox.kafka", *options])  # noqa: S606  # our own module, no shell


def _run_apache(arguments: argparse.Namespace) -> int:
    """One node, or a cluster on successive ports; its data lies beside the embedded broker's."""
    from taximeter_sandbox.brokers.apache import ApacheBroker  # noqa: PLC0415  # only for this choice
    from taximeter_sandbox.brokers.apache_cluster import ApacheCluster  # noqa: PLC0415
    from taximeter_sandbox.brokers.interface import BrokerUnavailable  # noqa: PLC0415

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    data = arguments.data.with_name(f"{arguments.data.name}-apache-{arguments.brokers}")
    ports = [arguments.port + number for number in range(arguments.brokers)] if arguments.port else []
    broker: ApacheBroker | ApacheCluster | None = None
    try:
        if arguments.brokers == 1:
            broker = ApacheBroker(data, port=arguments.port)
        else:
            broker = ApacheCluster(data, brokers=arguments.brokers, client_ports=ports)
        print(f"starting {broker.describe()}, data in {data}", flush=True)
        print(f"KAFKA_BOOTSTRAP_SERVERS={broker.start()}", flush=True)
        if isinstance(broker, ApacheCluster):
            for name in broker.names:
                print(f"{name}: pid {broker.pid(name)}, port {broker.ports(name).client}", flush=True)
        stop.wait()
    except BrokerUnavailable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION
    finally:
        if broker is not None:
            broker.stop()
    return OK
