"""The peers' harness: the load and its sums, how answers are read, and what happens when a peer cannot be had."""

import ast
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from taximeter_emitter.wire.event import parse_event, parse_json

from benchmarks.peers import answers
from benchmarks.peers.answers import OutputRecord
from benchmarks.peers.cache import PeerUnavailable, go_command, java_command, python_of
from benchmarks.peers.catalogue import PEERS, PROGRAMS, chosen
from benchmarks.peers.load import Sums, make_load
from benchmarks.peers.peer import Job
from metering.kafka.clients import KafkaSettings
from metering.records.batch_decoding import decode_batch
from metering.records.chain import ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow, encode_tally

WINDOW = 1_763_800_020_000


def output(*values: tuple[str, object], partition: int = 0) -> list[OutputRecord]:
    return [OutputRecord(partition, offset, key.encode(), orjson.dumps(value), 0) for offset, (key, value) in enumerate(values)]


def tally(start: int, end: int, previous: int, quantity: int) -> bytes:
    return encode_tally(
        Tally(
            chain_id="c" * 32,
            partition=0,
            link=ChainLink(start, end, previous),
            checkpoint=-1,
            instance="one",
            catalogue="none",
            log_time_ms=0,
            records=RecordCounts(singles=end - start),
            events=EventCounts(counted=end - start),
            rows=[TallyRow("cus_1", "tokens", (), WINDOW, quantity, end - start)],
        )
    )


def test_the_parts_of_a_load_are_one_stream_and_expect_the_sums_up_to_their_end() -> None:
    load = make_load(4_000, partitions=4)
    assert [len(part.singles) for part in (load.warm, load.measured, load.last)] == [2_000, 4_000, 1_000]
    ids: set[tuple[str, str]] = set()
    repeated, tokens = 0, 0
    for part in (load.warm, load.measured, load.last):
        for record in part.singles:
            event = parse_event(parse_json(record.value), arrival_ms=0)
            if (event.source, event.event_id) in ids:
                repeated += 1
                continue
            ids.add((event.source, event.event_id))
            tokens += sum(quantity for _, quantity in event.usage)
        assert part.expected.total() == tokens
    assert repeated > 0, "some ids must come again, or deduplication is not tried"


def test_the_batches_of_a_load_hold_the_same_events_with_their_ids() -> None:
    load = make_load(4_000, partitions=4)
    for part in (load.warm, load.measured, load.last):
        singles = [parse_event(parse_json(record.value), arrival_ms=0) for record in part.singles]
        batches = [decode_batch(parse_json(record.value)) for record in part.batches]
        assert sum(batch.count for batch in batches) == part.events == len(singles)
        ids = [batch.ids[start : start + 16] for batch in batches for start in range(0, 16 * batch.count, 16)]
        assert sorted(ids) == sorted(event.fingerprint for event in singles)


def test_added_quantities_are_summed() -> None:
    records = output(("cus_1", {"window": WINDOW, "tokens": 3}), ("cus_1", {"window": WINDOW, "tokens": 4}))
    assert answers.added_up(records) == Sums({("cus_1", WINDOW): 7})


@pytest.mark.parametrize(
    ("read", "records"),
    [
        (answers.latest_total, output(("cus_1", {"window": WINDOW, "tokens": 3}), ("cus_1", {"window": WINDOW, "tokens": 7}))),
        (answers.latest_quix_total, output(("cus_1", {"start": WINDOW, "end": 0, "value": 3}), ("cus_1", {"start": WINDOW, "end": 0, "value": 7}))),
        (answers.latest_faust_total, output((f'"{WINDOW}/cus_1"', 3), (f'"{WINDOW}/cus_1"', 7))),
    ],
)
def test_of_totals_the_last_one_of_a_window_holds(read: answers.Answer, records: Sequence[OutputRecord]) -> None:
    assert read(records) == Sums({("cus_1", WINDOW): 7})


def test_a_tally_that_does_not_continue_the_chain_is_not_counted() -> None:
    values = [tally(0, 2, -1, 10), tally(0, 1, -1, 99), tally(2, 5, 0, 5)]
    records = [OutputRecord(0, offset, b"", value, 0) for offset, value in enumerate(values)]
    assert answers.accepted_tallies(records) == Sums({("cus_1", WINDOW): 15})


def test_peers_are_chosen_by_the_beginning_of_their_names() -> None:
    assert [peer.name for peer in chosen(["taximeter"])] == ["taximeter", "taximeter batches"]
    assert chosen([]) == list(PEERS)
    with pytest.raises(ValueError, match="no peer is called 'nobody'"):
        chosen(["nobody"])


def test_without_java_and_go_their_peers_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PeerUnavailable, match="no java"):
        java_command("WindowedSums")
    with pytest.raises(PeerUnavailable, match="no go"):
        go_command()


def test_a_package_that_does_not_install_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("benchmarks.peers.cache.HERE", tmp_path)
    monkeypatch.setattr("benchmarks.peers.cache.sys.executable", str(tmp_path / "no-python"))
    (tmp_path / "requirements-none.txt").write_text("none")
    with pytest.raises(PeerUnavailable, match="no-python did not run"):
        python_of("requirements-none.txt")


@pytest.mark.parametrize("program", sorted(path for path in PROGRAMS.glob("*.py") if path.name != "__init__.py"), ids=lambda path: path.name)
def test_the_program_of_a_python_peer_parses_and_imports_nothing_of_ours(program: Path) -> None:
    ours = {"metering", "ingest", "aggregator", "reporter", "billing", "simulators", "taximeter", "benchmarks"}
    for node in ast.walk(ast.parse(program.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in ours
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & ours


def test_taximeter_is_given_this_job_and_nothing_else(tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=("localhost:1",), topic_prefix="t", partitions=4, replication_factor=1)
    job = Job(kafka, tmp_path, 1_000)
    peer = chosen(["taximeter"])[0]
    assert peer.output(job) == "t.tallies"
    assert peer.environment(job)["TAXIMETER_AGGREGATOR_FLUSH_SECONDS"] == "1.0"
