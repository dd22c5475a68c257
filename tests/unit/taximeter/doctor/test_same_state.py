"""The doctor, `status` and `/readyz` look at the same state: where one of them says that something is wrong, none says that all is well.

What stops a partition goes the way that it goes in service: from the worker into /readyz, and as a note beside its offset to both commands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from audit.positions import PartitionPosition
from audit.stops import GroupMemberSeen, GroupSeen
from metering.kafka.stop_notes import stop_note, stop_reason
from metering.process.logs import get_log
from metering.records.fail_closed import ChainBroken, FailClosed, HistoryLost, RecordUnreadable, Unforeseen
from metering.workers.group_metrics import GroupMetrics
from metering.workers.observing import Observing
from taximeter.commands.status import StatusNow
from taximeter.doctor.diagnosis import Urgency, diagnose, needs_a_person
from taximeter.doctor.doctor_facts import Facts
from taximeter.doctor.doctor_page import page
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.manual_clock import ManualClock

PARTITIONS: Final = 2
SERVICES: Final = ("aggregator", "reporter")
STOPS: Final = st.sampled_from(
    [
        ChainBroken("the topic was cut or created again"),
        HistoryLost("retention deleted events of partition 1 that were never counted: 3 to 8"),
        RecordUnreadable("no copy of it can be read", offset=7),
        Unforeseen("KeyError at offset 17: " + "x" * 2_000),
    ]
)
WORDS: Final = st.sampled_from(["", "", "", "no answer within 3 s"])


@dataclass
class State:
    """What is true of an installation."""

    stops: Mapping[tuple[str, int], FailClosed]
    contradictions: Sequence[str]
    silent: Sequence[str]
    topics: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)

    @property
    def positions(self) -> list[PartitionPosition]:
        numbers = ("uncounted", "unreported", "uncovered_rows", "open_meter_events", "unknown_meter_events", "open_corrections")
        settled: dict[str, Any] = dict.fromkeys(numbers, 0)
        places: dict[str, Any] = {"events_end": 9, "readable_end": 9, "counted_to": 9, "tallies_end": 4, "reported_to": 4}
        return [
            PartitionPosition(partition=partition, **settled, **places, problem=self.contradictions[partition], unread=self.silent[partition])
            for partition in range(PARTITIONS)
        ]

    def notes(self, service: str) -> dict[int, str]:
        """The reasons as commands read them."""
        found = {partition: stop_reason(stop_note(error)) for (name, partition), error in self.stops.items() if name == service}
        return {partition: reason for partition, reason in found.items() if reason is not None}

    @property
    def facts(self) -> Facts:
        members = tuple(GroupMemberSeen(f"process-{partition}", "10.0.0.1", (partition,)) for partition in range(PARTITIONS))
        groups = {service: GroupSeen("Stable", members, self.notes(service)) for service in SERVICES}
        return Facts(
            now_ms=1_700_000_000_000,
            version="1",
            partitions=PARTITIONS,
            hours=24.0,
            brokers=3,
            positions=self.positions,
            groups=groups,
            topic_problems=self.topics,
            unasked=self.unasked,
            set_aside={},
            refused={},
        )

    @property
    def status(self) -> StatusNow:
        stopped = {partition: f"{service}: {reason}" for service in SERVICES for partition, reason in self.notes(service).items()}
        return StatusNow(self.positions, None, stopped, self.topics, self.unasked)

    def readiness(self, service: str) -> str | None:
        """What /readyz of a process that owns all partitions says of them."""
        workers = {partition: SimpleNamespace(stopped=self.stops.get((service, partition))) for partition in range(PARTITIONS)}
        owned: Any = SimpleNamespace(topic="t", workers=workers, unread={})
        context: Any = SimpleNamespace(clock=ManualClock(), log=get_log("test"))
        metrics = GroupMetrics.create(CollectorRegistry(), "taximeter_test", lag="Lag.", paused="Paused.", takeover="Takeover.", stop_reasons=())
        return Observing(context, owned, metrics, by_partition=(), stall_seconds=60.0).stopped_partitions()


STATES: Final = st.builds(
    State,
    st.dictionaries(st.tuples(st.sampled_from(SERVICES), st.integers(0, PARTITIONS - 1)), STOPS, max_size=2),
    st.lists(st.sampled_from(["", "", "", "ChainBroken: tally 3 follows 1"]), min_size=PARTITIONS, max_size=PARTITIONS),
    st.lists(WORDS, min_size=PARTITIONS, max_size=PARTITIONS),
    st.lists(st.just("topic m.events has 1 copy, 3 are needed"), max_size=1),
    st.lists(st.just("what was set aside: no answer within 20 s"), max_size=1),
)


@settings(max_examples=200)
@given(STATES)
def test_none_says_that_all_is_well_where_another_says_that_it_is_not(state: State) -> None:
    causes, status = diagnose(state.facts), state.status
    not_ready = [service for service in SERVICES if state.readiness(service) is not None]
    assert needs_a_person(causes) is (status.exit_code != OK), (causes, status.problems, status.not_known)
    assert any("All is well" in line for line in page(state.facts, width=80, runbooks="r")) is (status.exit_code == OK)
    if not_ready:
        assert status.exit_code == DISCREPANCY
    told = {service for service in SERVICES if any(f"the {service} stopped" in cause.what and cause.urgency is Urgency.NOW for cause in causes)}
    assert told == set(not_ready)
    for (service, partition), error in state.stops.items():
        assert f"partition {partition}: {type(error).__name__}" in str(state.readiness(service))
        assert any(f"partition {partition} is stopped by" in problem for problem in status.problems)
