"""Topics, committed offsets and producer ids on disk."""

from contextlib import closing
from pathlib import Path

import pytest
from kio.schema.errors import ErrorCode
from taximeter_sandbox.kafka.cluster.topics import TopicRefused, Topics
from taximeter_sandbox.kafka.groups import committed_offsets
from taximeter_sandbox.kafka.groups.committed_offsets import Committed, CommittedOffsets
from taximeter_sandbox.kafka.settings import BrokerSettings
from taximeter_sandbox.kafka.storage.producer_ids import ProducerIds


def _topics(folder: Path, **options: int) -> Topics:
    return Topics(BrokerSettings(data=folder, **options))  # type: ignore[arg-type]  # only whole numbers are passed here


def test_commits_are_read_back_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "offsets.jsonl"
    with closing(CommittedOffsets(path)) as offsets:
        offsets.commit("g", {("t", 0): Committed(1, 0, "one"), ("t", 1): Committed(2, -1, None)})
        offsets.commit("g", {("t", 0): Committed(3, 0, 'line\n"quote"')})
        offsets.commit("other", {("u", 0): Committed(9, 0, "")})
    with path.open("ab") as file:
        file.write(b'["g","t",0,99')
    with closing(CommittedOffsets(path)) as offsets:
        assert offsets.of_group("g") == {("t", 0): Committed(3, 0, 'line\n"quote"'), ("t", 1): Committed(2, -1, None)}
        offsets.delete_topic("t")
        offsets.delete_group("other")
    with closing(CommittedOffsets(path)) as offsets:
        assert offsets.of_group("g") == {}
        assert "other" not in offsets.groups()


@pytest.mark.parametrize("line", [b"{}", b'["g","t",0]', b'["g","t","zero",1,1,null]', b"not json"])
def test_damage_inside_the_file_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "offsets.jsonl"
    path.write_bytes(line + b"\n" + b'["g","t",0,1,0,null]\n')
    with pytest.raises(ValueError, match=r".+"):
        CommittedOffsets(path)


def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committed_offsets, "_REWRITE_BYTES", 2_000)
    path = tmp_path / "offsets.jsonl"
    with closing(CommittedOffsets(path)) as offsets:
        for number in range(1_000):
            offsets.commit("g", {("t", 0): Committed(number, 0, "metadata")})
            assert path.stat().st_size < 3_000
    with closing(CommittedOffsets(path)) as offsets:
        assert offsets.of_group("g")["t", 0].offset == 999


def test_producer_ids_are_never_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "ids.json"
    given = []
    for _ in range(3):  # each round is a process that is killed
        ids = ProducerIds(path)
        given += [ids.take() for _ in range(1_500)]
    assert len(set(given)) == len(given)


def test_topics_are_read_back(tmp_path: Path) -> None:
    with closing(_topics(tmp_path)) as topics:
        topics.create("a", 3, {"max.message.bytes": "777", "retention.ms": None}, validate_only=False)
        topics.create("b", -1, {}, validate_only=False)
        topics.create("c", 1, {}, validate_only=True)
        topics.create("d", 1, {}, validate_only=False)
        topics.delete("d")
        topics.grow("a", 5, validate_only=False)
        before = {name: topic.topic_id for name, topic in topics.by_name.items()}
    with closing(_topics(tmp_path)) as topics:
        assert {name: topic.topic_id for name, topic in topics.by_name.items()} == before
        assert [len(topics.by_name[name].partitions) for name in ("a", "b")] == [5, 8]
        assert topics.by_name["a"].config.message_bytes_max == 777
        assert len(list((tmp_path / "logs").iterdir())) == 2


def test_files_of_a_creation_that_was_cut_short_are_removed(tmp_path: Path) -> None:
    with closing(_topics(tmp_path)) as topics:
        topics.create("a", 1, {}, validate_only=False)
    stray = tmp_path / "logs" / "0123456789abcdef"
    stray.mkdir()
    (stray / "0.log").write_bytes(b"half")
    with closing(_topics(tmp_path)) as topics:
        assert list(topics.by_name) == ["a"]
        assert not stray.exists()


@pytest.mark.parametrize(
    ("name", "partitions", "config", "error"),
    [
        ("", 1, {}, ErrorCode.invalid_topic_exception),
        ("..", 1, {}, ErrorCode.invalid_topic_exception),
        ("a/b", 1, {}, ErrorCode.invalid_topic_exception),
        ("a" * 250, 1, {}, ErrorCode.invalid_topic_exception),
        ("there", 1, {}, ErrorCode.topic_already_exists),
        ("new", 0, {}, ErrorCode.invalid_partitions),
        ("new", 100, {}, ErrorCode.policy_violation),
        ("new", 1, {"cleanup.policy": "compact"}, ErrorCode.invalid_config),
        ("new", 1, {"retention.ms": "-2"}, ErrorCode.invalid_config),
        ("new", 1, {"nonsense": "1"}, ErrorCode.invalid_config),
    ],
)
def test_a_topic_that_cannot_be_is_refused(tmp_path: Path, name: str, partitions: int, config: dict[str, str], error: ErrorCode) -> None:
    with closing(_topics(tmp_path, partitions_max=20)) as topics:
        topics.create("there", 1, {}, validate_only=False)
        with pytest.raises(TopicRefused) as refused:
            topics.create(name, partitions, config, validate_only=False)
        assert refused.value.error is error
        assert list(topics.by_name) == ["there"]
