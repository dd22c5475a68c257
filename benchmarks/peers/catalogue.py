"""The peers, in the order of the table. The first is what the others are compared with: a loop that does no more than it must."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks.peers.answers import accepted_tallies, added_up, latest_faust_total, latest_quix_total, latest_total
from benchmarks.peers.cache import go_command, java_command, python_of
from benchmarks.peers.peer import Job, Peer

PROGRAMS: Final = Path(__file__).resolve().parent / "programs"
METERS_FILE: Final = '[[meters]]\nevent_name = "tokens"\nsum = ["input_tokens", "output_tokens"]\n'


def _python(program: str, requirements: str) -> Callable[[Job], list[str]]:
    return lambda job: [str(python_of(requirements)), str(PROGRAMS / program), *job.arguments]


def _java(main_class: str) -> Callable[[Job], list[str]]:
    return lambda job: [*java_command(main_class), *job.arguments]


def _go(job: Job) -> list[str]:
    return [*go_command(), *job.arguments]


def _taximeter(job: Job) -> list[str]:
    settings = job.folder / "taximeter.toml"
    settings.write_text(METERS_FILE)
    return [sys.executable, "-m", "aggregator", "--config", str(settings)]


def _taximeter_environment(job: Job) -> Mapping[str, str]:
    return {
        "TAXIMETER_SERVICE_ADMIN_PORT": "0",
        "KAFKA_BOOTSTRAP_SERVERS": job.servers,
        "TAXIMETER_KAFKA_TOPIC_PREFIX": job.kafka.topic_prefix,
        "TAXIMETER_KAFKA_PARTITIONS": str(job.kafka.partitions),
        "TAXIMETER_KAFKA_REPLICATION_FACTOR": "1",
        "TAXIMETER_AGGREGATOR_GROUP_ID": job.group,
        "TAXIMETER_AGGREGATOR_INSTANCE_ID": "one",
        "TAXIMETER_AGGREGATOR_FLUSH_SECONDS": str(job.commit_ms / 1000),
        "TAXIMETER_AGGREGATOR_STATE_DIR": str(job.folder / "ids"),
    }


PEERS: Final[Sequence[Peer]] = (
    Peer("confluent-kafka loop", _python("confluent_loop.py", "requirements-confluent.txt"), added_up),
    Peer("taximeter", _taximeter, accepted_tallies, lambda job: job.kafka.topics.tallies.name, _taximeter_environment),
    Peer("taximeter batches", _taximeter, accepted_tallies, lambda job: job.kafka.topics.tallies.name, _taximeter_environment, batches=True),
    Peer("franz-go loop", _go, added_up),
    Peer("java consumer", _java("PlainConsumer"), added_up),
    Peer("kafka-streams", _java("WindowedSums"), latest_total),
    Peer("quixstreams", _python("quix_app.py", "requirements-quix.txt"), latest_quix_total),
    Peer("faust-streaming", _python("faust_app.py", "requirements-faust.txt"), latest_faust_total, lambda job: f"{job.group}-{job.sums}-changelog"),
)


def chosen(names: Sequence[str]) -> list[Peer]:
    """The peers whose names begin with one of these, in the order of the table; all for none. Raises ValueError for one that fits none."""
    for name in names:
        if not any(peer.name.startswith(name) for peer in PEERS):
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(peer.name for peer in PEERS)}")
    return [peer for peer in PEERS if not names or peer.name.startswith(tuple(names))]
