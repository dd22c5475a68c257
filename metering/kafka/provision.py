"""Create the topics that are missing and check those that exist: a wrong topic loses money later, so a service refuses to start on it."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    InvalidReplicationFactorError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    NotControllerError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import RetryPolicy, retrying
from taximeter_emitter.wire.limits import DAY_MS

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.topics import CREATE_TIME, LOG_APPEND_TIME, MAKE_TOPICS, UNLIMITED, TopicSpec
from metering.process.logs import get_log

COPIES_SAFE: Final = 3
VISIBLE_SECONDS_MAX: Final = 15.0
_CANCEL_SECONDS: Final = 1.0

_LOG = get_log("metering.kafka.provision")
_WHY_TIME_TYPE: Final = {
    LOG_APPEND_TIME: "it is a copy that nobody adopted (taximeter repair adopt), or retention would go by the producer's clock and delete"
    " back-dated usage early",
    CREATE_TIME: "the records of a copy must keep the log times that they had",
}
_CHECKED: Final = (
    "cleanup.policy",
    "message.timestamp.type",
    "retention.ms",
    "retention.bytes",
    "max.message.bytes",
    "min.insync.replicas",
    "unclean.leader.election.enable",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """What the cluster says about one existing topic; `replicas` is the smallest number that any partition has."""

    def __str__(self) -> str:
        in_sync = self.configuration.get("min.insync.replicas", "an unknown number")
        copies = "1 copy" if self.replicas == 1 else f"{self.replicas} copies"
        return f"{self.name}: {self.partitions} partitions, {copies}, {in_sync} in sync to acknowledge"

    name: str
    partitions: int
    replicas: int
    configuration: Mapping[str, str]


async def ensure_topics_unless_stopped(
    settings: KafkaSettings, topics: Iterable[TopicSpec], *, clock: Clock, stop: asyncio.Event
) -> list[str] | None:
    """`ensure_topics`, given up as soon as `stop` is set; then None. A service that is asked to stop does not wait for Kafka."""
    ensuring = asyncio.create_task(ensure_topics(settings, topics, clock=clock), name="ensure topics")
    stopping = asyncio.create_task(stop.wait(), name="stop before the topics")
    try:
        await asyncio.wait({ensuring, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return ensuring.result() if ensuring.done() else None
    finally:
        for task in (ensuring, stopping):
            task.cancel()
        await asyncio.wait({ensuring, stopping}, timeout=_CANCEL_SECONDS)


def log_topic(state: TopicState) -> None:
    """Say in the log what a topic is like."""
    in_sync = state.configuration.get("min.insync.replicas")
    _LOG.info("topic", topic=state.name, partitions=state.partitions, copies=state.replicas, min_insync=in_sync)


class TooFewBrokers(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """Topics cannot be created with as many copies as they must have, as long as brokers are away."""


async def ensure_topics(
    settings: KafkaSettings, topics: Iterable[TopicSpec], *, clock: Clock, show: Callable[[TopicState], None] = log_topic
) -> list[str]:
    """Create the missing topics, verify the existing ones; returns what is wrong, each with the way out. Nothing existing is altered.

    `show` is given each topic as it is. Blocks for at most `startup_timeout_seconds` while Kafka cannot be reached or has too few brokers for new
    topics (then that is the problem returned), and some seconds until new topics are visible. Several services may call it at the same time.
    """
    specs = tuple(topics)
    policy = RetryPolicy(base_seconds=0.25, cap_seconds=3.0, deadline_seconds=settings.startup_timeout_seconds)
    try:
        return await retrying(
            lambda: _ensure_once(settings, specs, clock, show),
            policy=policy,
            clock=clock,
            random=Random(),
            retry_on=(KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError, NotControllerError, TooFewBrokers, TimeoutError),
            on_retry=lambda error, delay: _LOG.warning("Kafka is not ready yet", reason=_words(error), retry_seconds=round(delay, 2)),
        )
    except TooFewBrokers as error:
        return [_words(error)]
    except (TimeoutError, KafkaError, IncompatibleBrokerVersion) as error:
        servers = ", ".join(settings.bootstrap_servers)
        return [f"the topics cannot be checked on {servers}: {error or type(error).__name__}; is Kafka running, reachable, and may this user?"]


def _words(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, TooFewBrokers) else str(error) or type(error).__name__


async def topic_problems(settings: KafkaSettings, topics: Iterable[TopicSpec], *, clock: Clock) -> list[str]:
    """What is wrong with the topics now, each with the way out; changes nothing. Raises KafkaError while the cluster does not answer."""
    specs = tuple(topics)
    admin = make_admin(settings, client_id="topics")
    try:
        await admin.start()
        listed = await _listed(admin, {spec.name for spec in specs})
        there = [spec for spec in specs if spec.name in listed]
        states = await _states(admin, {spec.name for spec in there}, clock) if there else {}
        return _missing(specs, listed) + check_topics(there, states, partitions=settings.partitions, copies=settings.replication_factor)
    finally:
        await admin.close()


async def missing_topics(settings: KafkaSettings) -> list[str]:
    """The topics of the settings that are not there, each with the way out; makes none. Raises KafkaError while the cluster does not answer."""
    return _missing(settings.topics, await partition_counts(settings, settings.topics))


def _missing(specs: Iterable[TopicSpec], existing: Collection[str]) -> list[str]:
    return [f"topic {spec.name} does not exist; {MAKE_TOPICS}" for spec in specs if spec.name not in existing]


async def partition_counts(settings: KafkaSettings, topics: Iterable[TopicSpec]) -> dict[str, int]:
    """How many partitions each topic that exists has at the brokers, whatever the settings say. Raises KafkaError."""
    admin = make_admin(settings, client_id="partitions")
    try:
        await admin.start()
        return {name: len(partitions) for name, partitions in (await _listed(admin, {spec.name for spec in topics})).items()}
    finally:
        await admin.close()


async def _ensure_once(settings: KafkaSettings, specs: tuple[TopicSpec, ...], clock: Clock, show: Callable[[TopicState], None]) -> list[str]:
    admin = make_admin(settings, client_id="provision")
    try:
        await admin.start()
        names = {spec.name for spec in specs}
        listed = await _listed(admin, names)
        missing = [spec for spec in specs if spec.name not in listed]
        problems = await _create(admin, settings, missing) if missing else []
        if problems:
            return problems
        states = await _states(admin, names, clock)
        for state in states.values():
            show(state)
        return check_topics(specs, states, partitions=settings.partitions, copies=settings.replication_factor)
    finally:
        await admin.close()


def check_topics(specs: Iterable[TopicSpec], existing: Mapping[str, TopicState], *, partitions: int, copies: int) -> list[str]:
    """What is wrong with the topics, each with the way out. `copies`: how many were asked for, at least. Pure."""
    problems: list[str] = []
    for spec in specs:
        state = existing.get(spec.name)
        if state is None:
            problems.append(f"topic {spec.name} has partitions without a leader, or does not show yet; try again when the cluster is well")
        else:
            problems += _partition_problems(spec, state, partitions)
            problems += _copies_problems(state, copies)
            problems += _configuration_problems(spec, state)
    return problems


def _partition_problems(spec: TopicSpec, state: TopicState, partitions: int) -> list[str]:
    if state.partitions == spec.partitions_of(partitions):
        return []
    if spec.partitions is not None:
        return [f"topic {state.name} has {state.partitions} partitions, and its records have one order: create it again while it is empty"]
    problem = (
        f"topic {state.name} has {state.partitions} partitions, TAXIMETER_KAFKA_PARTITIONS is {partitions}: a customer's events, tallies and"
        f" ledger must have the same partition number. Set it to {state.partitions} if all topics have that many; if partitions were added"
        " to a topic in use, use a new TAXIMETER_KAFKA_TOPIC_PREFIX"
    )
    return [problem]


def _copies_problems(state: TopicState, copies: int) -> list[str]:
    if state.replicas >= copies:
        return []
    problem = (
        f"topic {state.name} has a partition with {state.replicas} of {copies} copies, as topics have that were created while a broker was away:"
        " acknowledged usage could be lost with a broker. Add copies with kafka-reassign-partitions; or ask for fewer by name, with"
        f" TAXIMETER_KAFKA_REPLICATION_FACTOR={state.replicas}, where losing usage does not matter"
    )
    return [problem]


def _configuration_problems(spec: TopicSpec, state: TopicState) -> list[str]:
    found: list[str] = []
    values = state.configuration

    def wrong(key: str, why: str, wanted: str) -> None:
        found.append(f"topic {spec.name} has {key}={values.get(key, '(not told)')}: {why}. Set it with kafka-configs --add-config {key}={wanted}")

    if values.get("message.timestamp.type") != spec.time_type:
        wrong("message.timestamp.type", _WHY_TIME_TYPE[spec.time_type], spec.time_type)
    if "compact" in values.get("cleanup.policy", "compact"):
        wrong("cleanup.policy", "compaction deletes records that the chain counts", "delete")
    if not _at_least(values.get("retention.ms"), spec.retention_ms_min):
        days = spec.retention_ms_min // DAY_MS
        wrong("retention.ms", f"records must be kept for at least {days} days", str(spec.retention_ms))
    if not _at_least(values.get("retention.bytes", str(UNLIMITED)), None):
        wrong("retention.bytes", "retention by size deletes records whatever their age", str(UNLIMITED))
    if not _at_least(values.get("max.message.bytes"), spec.max_message_bytes):
        wrong("max.message.bytes", f"a record of {spec.record_bytes_max} bytes would be refused", str(spec.max_message_bytes))
    if values.get("unclean.leader.election.enable") == "true":
        wrong("unclean.leader.election.enable", "a broker that missed acknowledged records could lead", "false")
    if state.replicas >= COPIES_SAFE:
        in_sync = values.get("min.insync.replicas")
        if not _at_least(in_sync, 2):
            wrong("min.insync.replicas", "one broker alone could acknowledge a record and be lost with it", "2")
        elif _at_least(in_sync, state.replicas):
            wrong("min.insync.replicas", "nothing could be written while any broker is away", str(state.replicas - 1))
    return found


def _at_least(value: str | None, minimum: int | None) -> bool:
    """Whether a limit of Kafka's is no lower than `minimum` (None: unlimited); -1 is how Kafka says unlimited."""
    try:
        number = int(value) if value is not None else None
    except ValueError:
        return False
    if number is None:
        return False
    return number == UNLIMITED or (minimum is not None and number >= minimum)


async def _create(admin: AIOKafkaAdminClient, settings: KafkaSettings, missing: list[TopicSpec]) -> list[str]:
    replication = settings.replication_factor
    brokers = len((await admin.describe_cluster())["brokers"])
    if brokers < replication:
        raise TooFewBrokers(_too_few(missing, replication, brokers))
    in_sync = 2 if replication >= COPIES_SAFE else 1
    new = [
        NewTopic(
            name=spec.name,
            num_partitions=spec.partitions_of(settings.partitions),
            replication_factor=replication,
            topic_configs=spec.configuration(min_insync_replicas=in_sync),
        )
        for spec in missing
    ]
    response = await admin.create_topics(new)
    problems, by_name = [], {spec.name: spec for spec in missing}
    for name, code, *message in response.topic_errors:
        error = for_code(code)
        if error is NotControllerError:
            raise NotControllerError
        if error is InvalidReplicationFactorError:
            # A broker that has just gone, or is not ready to take copies yet.
            raise TooFewBrokers(_too_few(missing, replication, brokers))
        if code == 0:
            _LOG.info("topic created", topic=name, partitions=by_name[name].partitions_of(settings.partitions), replication_factor=replication)
        elif error is not TopicAlreadyExistsError:
            detail = f" ({message[0]})" if message and message[0] else ""
            problems.append(f"topic {name} cannot be created: {error.__name__}{detail}; give this user the right to, or create it by hand")
    return problems


def _too_few(missing: Iterable[TopicSpec], copies: int, brokers: int) -> str:
    names = ", ".join(spec.name for spec in missing)
    here = "1 is" if brokers == 1 else f"{brokers} are"
    return (
        f"{names} must have {copies} copies of each partition, and {here} here of the {copies} brokers that this takes: start the others, or ask"
        f" for fewer copies by name, with TAXIMETER_KAFKA_REPLICATION_FACTOR={brokers} (1 for a single broker in development)"
    )


async def _listed(admin: AIOKafkaAdminClient, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The partitions of those topics that exist. All topics are asked for, since asking for one by name may create it."""
    return {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics() if topic["topic"] in names}


async def _states(admin: AIOKafkaAdminClient, names: set[str], clock: Clock) -> dict[str, TopicState]:
    """The topics' states, once every partition has a leader; what does not get there in VISIBLE_SECONDS_MAX is left out.

    Brokers learn of a new topic one after the other, and elect leaders after that.
    """
    deadline = clock.monotonic() + VISIBLE_SECONDS_MAX
    while True:
        listed = await _listed(admin, names)
        led = {name: partitions for name, partitions in listed.items() if partitions and all(each["leader"] >= 0 for each in partitions)}
        # One broker may name a topic, and the one that is asked for its settings may not know it yet.
        configurations = await _configurations(admin, sorted(led))
        if len(configurations) == len(names) or clock.monotonic() > deadline:
            break
        await clock.sleep(0.2)
    return {
        name: TopicState(
            name=name,
            partitions=len(partitions),
            replicas=min(len(each["replicas"]) for each in partitions),
            configuration=configurations[name],
        )
        for name, partitions in led.items()
        if name in configurations
    }


async def _configurations(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, dict[str, str]]:
    """The checked settings of each topic that the broker knows. Raises KafkaError when the cluster refuses to tell."""
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_CHECKED, "")) for name in names]
    found: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code == UnknownTopicOrPartitionError.errno:
                continue
            if code != 0:
                raise for_code(code)(f"configuration of {name}: {message}")
            found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found
