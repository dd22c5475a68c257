"""`taximeter repair adopt`: let the copy of another cluster's topics go on here, on record, and close those that are left.

Where the cluster that is left can be reached, its ledgers are closed first; then nothing is billed twice and nothing is lost.
"""

import argparse
import asyncio
import getpass
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from taximeter_emitter.clock import SystemClock

from audit.verification.verifier import verify
from metering.copying.copied_topics import cluster_id, prepare_copy, set_time_type, time_type
from metering.copying.copy_rounds import CopyRounds
from metering.copying.copy_target import CopyTarget
from metering.copying.running_members import running_members
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.provision import partition_counts
from metering.kafka.topics import LOG_APPEND_TIME
from metering.records.ledger_records import BY_CHARS_MAX, REASON_CHARS_MAX
from reporter.adopting import HandoverRequest, LedgerMove, LedgerState, NotAdoptable
from taximeter.connection import NotConfigured, group_ids, kafka_settings
from taximeter.exit_codes import OK
from taximeter.moving_commands.clusters import answered, check_agreed, check_asking, other_cluster, print_document
from taximeter.moving_commands.topics_copy import telling

_AGAIN: Final = "the same command goes on where this one ended"


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the copy is adopted or, without a reason, what would be done is shown; 1 when it must not be; 2 when the copy is not sound."""
    kafka = kafka_settings(arguments)
    other = other_cluster(arguments, kafka)
    problems = _problems(arguments, other)
    for problem in problems:
        print(f"taximeter: {problem}", file=sys.stderr)
    if problems:
        raise NotConfigured
    groups = group_ids(arguments)
    return answered(lambda: _adopt(arguments, kafka, other, groups), asyncio.run, again=_AGAIN)


def _problems(arguments: argparse.Namespace, other: KafkaSettings | None) -> list[str]:
    problems = []
    if [other is not None, arguments.old_gone, arguments.reopen].count(True) != 1:
        problems.append(
            "say which cluster is left, with --from SERVERS or --from-config FILE; or --old-gone, if it is lost for good; or --reopen, if this one"
            " was closed and its copy was never adopted"
        )
    if arguments.reason is None:
        return problems
    for name, text, bound in (("--reason", arguments.reason, REASON_CHARS_MAX), ("--by", arguments.by or getpass.getuser(), BY_CHARS_MAX)):
        if not text.strip() or len(text) > bound:
            problems.append(f"{name} must be 1 to {bound} characters")
    return problems


async def _adopt(arguments: argparse.Namespace, kafka: KafkaSettings, other: KafkaSettings | None, groups: Mapping[str, str]) -> int:
    if arguments.reason is not None:
        check_asking(arguments)
    own_id = await cluster_id(kafka)
    old_id = await cluster_id(other) if other is not None else ""
    if old_id == own_id:
        raise NotAdoptable("that is this cluster: name the one that is left")
    reader, appender = LogReader(kafka, "adopt-reader"), Appender(kafka, "adopt-appender")
    try:
        here = _Here(arguments, kafka, own_id, groups, LedgerMove(reader, appender, kafka.topics, SystemClock()))
        if other is not None:
            states = await here.adopt_from(other, old_id)
        else:
            states = await (here.reopen() if arguments.reopen else here.adopt_alone())
        if arguments.json:
            print_document({"cluster": own_id, "left": old_id, "partitions": [state.as_json() for state in states]})
        return OK
    finally:
        await reader.close()
        await appender.close()


@dataclass(frozen=True, slots=True)
class _Here:
    """The cluster in which the ledgers go on, and what was asked."""

    arguments: argparse.Namespace
    kafka: KafkaSettings
    own_id: str
    groups: Mapping[str, str]
    move: LedgerMove

    @property
    def _partitions(self) -> range:
        return range(self.kafka.partitions)

    async def adopt_from(self, other: KafkaSettings, old_id: str) -> list[LedgerState]:
        """From a cluster that answers: close it, copy the rest, open the copy."""
        source, appender, target = LogReader(other, "adopt-source"), Appender(other, "adopt-closer"), CopyTarget(self.kafka)
        try:
            old = LedgerMove(source, appender, other.topics, SystemClock())
            before = [await old.state(partition) for partition in self._partitions]
            self._show(before, f"in the cluster that is left, {old_id}")
            await self._check_stopped(other)
            if self.arguments.reason is None:
                print("nothing was done; to close that cluster and adopt its copy here, say --reason", file=sys.stderr)
                return before
            check_agreed(self.arguments, f"Close the cluster {old_id} for good, and go on here?")
            closings = [await old.close(partition, self.own_id, self._request) for partition in self._partitions]
            # What an earlier run of this command has opened is complete, and others may write to it.
            if not await self._is_adopted(old_id):
                await self._copy_rest(other, source, target)
                for closing in closings:
                    if (await self.move.state(closing.partition)).closing != closing:
                        raise NotAdoptable(f"the copy of the ledger of partition {closing.partition} does not end with its closing")
            return await self._open(old_id)
        finally:
            await source.close()
            await appender.close()
            await target.close()

    async def adopt_alone(self) -> list[LedgerState]:
        """From a cluster that is lost: what is here is all there is."""
        await self._check_copy()
        before = [await self.move.state(partition) for partition in self._partitions]
        self._show(before, "in the copy here")
        await self._check_stopped(self.kafka)
        report = await verify(self.kafka)
        if report.problems.count:
            raise NotAdoptable(f"the copy is not sound: {'; '.join(report.problems.shown[:3])}. See taximeter verify")
        if self.arguments.reason is None:
            print("nothing was done; to go on with this copy, say --reason", file=sys.stderr)
            return before
        check_agreed(self.arguments, "Is every reporter of the lost cluster stopped, or its Stripe key revoked; and go on here?")
        return await self._open("")

    async def reopen(self) -> list[LedgerState]:
        """A closed cluster goes on after all."""
        before = [await self.move.state(partition) for partition in self._partitions]
        closed = [(state.partition, state.closing) for state in before if state.closing is not None]
        self._show(before, "in this cluster")
        if not closed:
            raise NotAdoptable("no ledger here is closed")
        if self.arguments.reason is None:
            print("nothing was done; to open them again, say --reason", file=sys.stderr)
            return before
        successors = ", ".join(sorted({closing.successor for _, closing in closed}))
        check_agreed(
            self.arguments, f"Is it certain that the cluster {successors} was never adopted? Otherwise usage is billed twice. Open it again?"
        )
        for partition, _ in closed:
            await self.move.adopt(partition, self.own_id, self._request)
        return [await self.move.state(partition) for partition in self._partitions]

    @property
    def _request(self) -> HandoverRequest:
        return HandoverRequest(self.arguments.reason, self.arguments.by or getpass.getuser())

    async def _copy_rest(self, other: KafkaSettings, source: LogReader, target: CopyTarget) -> None:
        problems = await prepare_copy(self.kafka, target, clock=SystemClock())
        if problems:
            raise NotAdoptable("; ".join(problems))
        copied: Counter[str] = Counter()
        rounds = CopyRounds(source, target, original=other.topics, copied=self.kafka.topics, partitions=self.kafka.partitions)
        await rounds.copy(telling(copied, quiet=self.arguments.json))
        await rounds.check()
        if not self.arguments.json:
            print(f"copied {copied.total():,} records that were missing here")

    async def _check_copy(self) -> None:
        existing = await partition_counts(self.kafka, self.kafka.topics)
        missing = [spec.name for spec in self.kafka.topics if spec.name not in existing]
        if missing:
            raise NotAdoptable(f"there is no copy here: {', '.join(missing)} do not exist")
        times = [await time_type(self.kafka, spec) for spec in self.kafka.topics]
        if set(times) == {LOG_APPEND_TIME} and not await self._is_adopted(""):
            raise NotAdoptable("these topics are no copy: they are in use here")

    async def _is_adopted(self, old_id: str) -> bool:
        existing = await partition_counts(self.kafka, self.kafka.topics)
        if any(spec.name not in existing for spec in self.kafka.topics):
            return False
        return any([await self.move.is_adopted(partition, old_id) for partition in self._partitions])

    async def _open(self, old_id: str) -> list[LedgerState]:
        for partition in self._partitions:
            await self.move.adopt(partition, old_id, self._request)
        for spec in self.kafka.topics:
            if await time_type(self.kafka, spec) != LOG_APPEND_TIME:
                await set_time_type(self.kafka, spec, LOG_APPEND_TIME)
        if not self.arguments.json:
            print("adopted: start the services here, and point emitters and gateways here; then taximeter topics catch-up")
        return [await self.move.state(partition) for partition in self._partitions]

    async def _check_stopped(self, kafka: KafkaSettings) -> None:
        running = {service: await running_members(kafka, group, clock=SystemClock()) for service, group in self.groups.items()}
        if any(running.values()):
            said = " and ".join(f"{count} {service}{'' if count == 1 else 's'}" for service, count in running.items() if count)
            servers = ", ".join(kafka.bootstrap_servers)
            raise NotAdoptable(f"{said} still run at {servers}: stop them first (one that was killed counts until its session ends)")

    def _show(self, states: Sequence[LedgerState], where: str) -> None:
        if self.arguments.json:
            return
        print(f"{len(states)} partitions {where}:")
        for state in states:
            waiting = ", ".join(f"{units:,} units of {meter}" for meter, units in sorted(state.waiting.items())) or "nothing"
            print(
                f"  {state.partition}: events counted to {max(0, state.counted_to):,} of {state.events_end:,}; reported to tally"
                f" {state.reported_to:,} (intent {state.head}); {state.open_meter_events:,} meter events open; {waiting} waiting{_said(state)}"
            )


def _said(state: LedgerState) -> str:
    parts: list[Any] = []
    if state.closing is not None:
        parts.append(f"closed at offset {state.closing.place.offset} for {state.closing.successor}")
    if state.adopted is not None:
        parts.append(f"adopted at offset {state.adopted.place.offset}")
    return f"; {', '.join(parts)}" if parts else ""
