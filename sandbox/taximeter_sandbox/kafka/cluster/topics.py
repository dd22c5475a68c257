"""The topics of this broker: which exist, how they are configured, and their partition logs."""

import logging
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.topic_config import ConfigRefused, TopicConfig, checked_config
from taximeter_sandbox.kafka.settings import BrokerSettings
from taximeter_sandbox.kafka.storage.documents import read_document, write_document
from taximeter_sandbox.kafka.storage.partition_log import PartitionLog

_LEGAL_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_logger = logging.getLogger(__name__)


class TopicRefused(Exception):
    """A topic cannot be made or changed as asked; ``error`` is the protocol's code, the message says why."""

    def __init__(self, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass(slots=True)
class Topic:
    """One topic; ``partitions[i]`` is the log of partition i."""

    name: str
    topic_id: uuid.UUID
    config: TopicConfig
    partitions: list[PartitionLog]


class Topics:
    """All topics, kept in ``topics.json`` (the commit point of every change) and one folder of logs for each topic id.

    Changes block on the disk for as long as a small file takes to be written.
    """

    def __init__(self, settings: BrokerSettings) -> None:
        """Open every log below ``settings.data``. Raises CorruptLog, OSError, ValueError for a damaged catalogue."""
        self._settings = settings
        self._catalogue = settings.data / "topics.json"
        self._logs = settings.data / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._topics: dict[str, Topic] = {}
        for entry in read_document(self._catalogue) or []:
            self._open(entry["name"], uuid.UUID(entry["id"]), entry["partitions"], entry["config"])
        self._remove_strays()

    @property
    def by_name(self) -> Mapping[str, Topic]:
        """Topics by name, read only."""
        return MappingProxyType(self._topics)

    def by_id(self, topic_id: uuid.UUID | None) -> Topic | None:
        """The topic with this id."""
        return next((topic for topic in self._topics.values() if topic.topic_id == topic_id), None)

    def log(self, topic_name: str, partition: int) -> PartitionLog | None:
        """The log of one partition, or None if there is no such."""
        topic = self._topics.get(topic_name)
        if topic is None or not 0 <= partition < len(topic.partitions):
            return None
        return topic.partitions[partition]

    def logs(self) -> Iterator[PartitionLog]:
        """Every partition's log."""
        for topic in self._topics.values():
            yield from topic.partitions

    def create(self, name: str, partition_count: int, given_config: Mapping[str, str | None], *, validate_only: bool) -> Topic | None:
        """Make a topic; ``partition_count`` -1 means the broker's default. Returns None when only validating. Raises TopicRefused."""
        if not _LEGAL_NAME.fullmatch(name) or name in {".", ".."}:
            raise TopicRefused(ErrorCode.invalid_topic_exception, "a topic name is 1 to 249 of a-z A-Z 0-9 . _ -")
        if name in self._topics:
            raise TopicRefused(ErrorCode.topic_already_exists, f"topic {name} already exists")
        count = self._settings.partitions_default if partition_count == -1 else partition_count
        if count < 1:
            raise TopicRefused(ErrorCode.invalid_partitions, "a topic has at least one partition")
        self._check_room(count)
        try:
            config = checked_config(given_config, message_bytes_default=self._settings.message_bytes_max)
        except ConfigRefused as error:
            raise TopicRefused(ErrorCode.invalid_config, str(error)) from error
        if validate_only:
            return None
        topic = self._open(name, uuid.uuid4(), count, config.explicit)
        self._save()
        return topic

    def delete(self, name: str) -> None:
        """Remove a topic and its files. Raises KeyError."""
        topic = self._topics.pop(name)
        self._save()
        for log in topic.partitions:
            log.abandon()
        shutil.rmtree(self._folder(topic.topic_id))

    def grow(self, name: str, partition_count: int, *, validate_only: bool) -> None:
        """Raise a topic's number of partitions. Raises TopicRefused."""
        topic = self._topics.get(name)
        if topic is None:
            raise TopicRefused(ErrorCode.unknown_topic_or_partition, f"no topic {name}")
        missing = partition_count - len(topic.partitions)
        if missing <= 0:
            raise TopicRefused(ErrorCode.invalid_partitions, f"topic {name} already has {len(topic.partitions)} partitions")
        self._check_room(missing)
        if validate_only:
            return
        for number in range(len(topic.partitions), partition_count):
            topic.partitions.append(self._open_log(topic.topic_id, number))
        self._save()

    def configure(self, name: str, given_config: Mapping[str, str | None], *, validate_only: bool) -> None:
        """Replace a topic's explicit settings. Raises TopicRefused."""
        topic = self._topics.get(name)
        if topic is None:
            raise TopicRefused(ErrorCode.unknown_topic_or_partition, f"no topic {name}")
        try:
            config = checked_config(given_config, message_bytes_default=self._settings.message_bytes_max)
        except ConfigRefused as error:
            raise TopicRefused(ErrorCode.invalid_config, str(error)) from error
        if not validate_only:
            topic.config = config
            self._save()

    def close(self) -> None:
        """Flush and close every log."""
        for log in self.logs():
            log.close()

    def _check_room(self, more: int) -> None:
        held = sum(len(topic.partitions) for topic in self._topics.values())
        if held + more > self._settings.partitions_max:
            raise TopicRefused(ErrorCode.policy_violation, f"this broker holds at most {self._settings.partitions_max} partitions")

    def _open(self, name: str, topic_id: uuid.UUID, partition_count: int, explicit: Mapping[str, str]) -> Topic:
        self._folder(topic_id).mkdir(exist_ok=True)
        partitions = [self._open_log(topic_id, number) for number in range(partition_count)]
        topic = Topic(name, topic_id, TopicConfig(dict(explicit), self._settings.message_bytes_max), partitions)
        self._topics[name] = topic
        return topic

    def _open_log(self, topic_id: uuid.UUID, number: int) -> PartitionLog:
        path = self._folder(topic_id) / f"{number}.log"
        log = PartitionLog(path, fsync_each_append=self._settings.fsync_each_append)
        if log.truncated_bytes:
            _logger.warning("cut %d bytes of an unfinished batch off %s", log.truncated_bytes, path)
        return log

    def _folder(self, topic_id: uuid.UUID) -> Path:
        return self._logs / topic_id.hex

    def _save(self) -> None:
        content = [
            {"name": topic.name, "id": topic.topic_id.hex, "partitions": len(topic.partitions), "config": dict(topic.config.explicit)}
            for topic in self._topics.values()
        ]
        write_document(self._catalogue, content)

    def _remove_strays(self) -> None:
        """Delete folders of topics whose creation or deletion was cut short: the catalogue decides what exists."""
        known = {topic.topic_id.hex for topic in self._topics.values()}
        for folder in self._logs.iterdir():
            if folder.name not in known:
                shutil.rmtree(folder)
