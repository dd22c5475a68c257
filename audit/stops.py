"""Who owns which partitions, which have stopped and why, and which versions run: read from the consumer groups, without asking a process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.stop_notes import running_version, stop_reason


@dataclass(frozen=True, slots=True)
class GroupMemberSeen:
    """A process in a group: how it calls itself, from which address, and what it owns."""

    instance: str
    host: str
    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A service's group. `state` is Kafka's word; `stopped` are reasons by partition, `versions` those that owners last said they run."""

    state: str
    members: tuple[GroupMemberSeen, ...] = ()
    stopped: Mapping[int, str] = field(default_factory=dict)
    versions: frozenset[str] = frozenset()

    @property
    def owned(self) -> frozenset[int]:
        """Partitions that a member owns."""
        return frozenset(partition for member in self.members for partition in member.partitions)


async def groups_seen(kafka: KafkaSettings, groups: Mapping[str, str]) -> dict[str, GroupSeen]:
    """By service. `groups`: the consumer group of each, by the service's name. Raises LogUnavailable."""
    topics = {kafka.topics.events.name, kafka.topics.tallies.name}
    found: dict[str, GroupSeen] = {}
    admin = make_admin(kafka, client_id="groups")
    try:
        await admin.start()
        for service, group in groups.items():
            stopped, versions = await _notes(admin, group, topics)
            (described,) = [each for response in await admin.describe_consumer_groups([group]) for each in response.groups]
            members = tuple(_member(each, topics) for each in described[5])
            found[service] = GroupSeen(described[2], members, stopped, frozenset(versions))
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"the owners of partitions cannot be read: {error!r}") from error
    finally:
        await admin.close()
    return found


async def stopped_partitions(kafka: KafkaSettings, groups: Mapping[str, str]) -> dict[int, str]:
    """The reasons by partition. `groups` as above. Raises LogUnavailable."""
    topics = {kafka.topics.events.name, kafka.topics.tallies.name}
    found: dict[int, list[str]] = {}
    admin = make_admin(kafka, client_id="stops")
    try:
        await admin.start()
        for service, group in groups.items():
            for partition, reason in (await _notes(admin, group, topics))[0].items():
                found.setdefault(partition, []).append(f"{service}: {reason}")
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"what stopped partitions cannot be read: {error!r}") from error
    finally:
        await admin.close()
    return {partition: "; ".join(reasons) for partition, reasons in sorted(found.items())}


async def _notes(admin: Any, group: str, topics: set[str]) -> tuple[dict[int, str], set[str]]:
    """What owners say beside their offsets: reasons of stops by partition, and versions."""
    stopped: dict[int, str] = {}
    versions: set[str] = set()
    for place, entry in (await admin.list_consumer_group_offsets(group)).items():
        if place.topic not in topics:
            continue
        reason, version = stop_reason(entry.metadata), running_version(entry.metadata)
        if reason is not None:
            stopped[place.partition] = reason
        if version is not None:
            versions.add(version)
    return stopped, versions


def _member(described: Any, topics: set[str]) -> GroupMemberSeen:
    _, client, host, _, assignment = described[:5]
    owned = ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions() if assignment else ()
    return GroupMemberSeen(client, host.lstrip("/"), tuple(sorted(place.partition for place in owned if place.topic in topics)))
