"""One consumer group: who is in it, which generation it is, and when it rebalances. No I/O; time is passed in."""

import asyncio
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeVar

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.groups.messages import JoinAnswer, JoinRequest, SyncAnswer

Answer = TypeVar("Answer", JoinAnswer, SyncAnswer)


class GroupState(Enum):
    """The states of Kafka's classic group protocol, under the names that DescribeGroups shows."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"


@dataclass(slots=True)
class Member:
    """One member; ``expires_at`` is in the caller's seconds and does not run while the member waits for an answer."""

    member_id: str
    asked: JoinRequest
    expires_at: float
    assignment: bytes = b""
    joining: "asyncio.Future[JoinAnswer] | None" = None
    syncing: "asyncio.Future[SyncAnswer] | None" = None

    @property
    def waits(self) -> bool:
        """Whether the broker owes this member an answer."""
        return self.joining is not None or self.syncing is not None

    def metadata(self, protocol_name: str) -> bytes:
        """What the member said under one protocol."""
        return next((metadata for name, metadata in self.asked.protocols if name == protocol_name), b"")

    def touch(self, now: float) -> None:
        """The member has been heard."""
        self.expires_at = now + self.asked.session_timeout_s


@dataclass(slots=True)
class Group:
    """A consumer group in Kafka's classic protocol. Futures it answers belong to the running event loop."""

    group_id: str
    members_max: int
    state: GroupState = GroupState.EMPTY
    generation: int = 0
    protocol_type: str | None = None
    protocol_name: str | None = None
    leader: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    #: Static members: instance id to the member id that holds it now.
    instances: dict[str, str] = field(default_factory=dict)
    #: Ids given out to members that are to join again with them, and until when.
    promised: dict[str, float] = field(default_factory=dict)
    rebalance_ends_at: float = 0.0

    # -- joining ---------------------------------------------------------------------------------------------------------------------

    def join(self, asked: JoinRequest, now: float) -> "asyncio.Future[JoinAnswer]":
        """A member joins, for the first time or again; the answer comes when the rebalance is complete."""
        answer: asyncio.Future[JoinAnswer] = asyncio.get_running_loop().create_future()
        error = self._join_error(asked)
        if error is not ErrorCode.none:
            answer.set_result(JoinAnswer(error=error, member_id=asked.member_id))
        elif asked.member_id in self.members:
            self._rejoin(self.members[asked.member_id], asked, answer, now)
        elif asked.instance_id is not None and asked.instance_id in self.instances:
            self._replace_static(asked, answer, now)
        elif asked.member_id or asked.instance_id is not None or not asked.must_know_member_id:
            self.promised.pop(asked.member_id, None)
            self._add(asked.member_id or _new_member_id(asked), asked, answer, now)
        else:
            member_id = _new_member_id(asked)
            self.promised[member_id] = now + asked.session_timeout_s
            answer.set_result(JoinAnswer(error=ErrorCode.member_id_required, member_id=member_id))
        return answer

    def _join_error(self, asked: JoinRequest) -> ErrorCode:
        if not asked.protocol_type or not asked.protocols:
            return ErrorCode.inconsistent_group_protocol
        others = [member for member in self.members.values() if member.member_id != asked.member_id]
        if others:
            common = set.intersection(*({name for name, _ in member.asked.protocols} for member in others))
            if asked.protocol_type != self.protocol_type or common.isdisjoint(name for name, _ in asked.protocols):
                return ErrorCode.inconsistent_group_protocol
        if asked.member_id:
            if asked.instance_id is not None:
                return self.identity_error(asked.member_id, asked.instance_id)
            if asked.member_id not in self.members and asked.member_id not in self.promised:
                return ErrorCode.unknown_member_id
        if asked.member_id not in self.members and len(self.members) + len(self.promised) >= self.members_max:
            return ErrorCode.group_max_size_reached
        return ErrorCode.none

    def _add(self, member_id: str, asked: JoinRequest, answer: "asyncio.Future[JoinAnswer]", now: float) -> None:
        member = Member(member_id, asked, now + asked.session_timeout_s, joining=answer)
        self.members[member_id] = member
        if asked.instance_id is not None:
            self.instances[asked.instance_id] = member_id
        self.protocol_type = asked.protocol_type
        self._prepare_rebalance(now)

    def _rejoin(self, member: Member, asked: JoinRequest, answer: "asyncio.Future[JoinAnswer]", now: float) -> None:
        unchanged = member.asked.protocols == asked.protocols
        member.asked = asked
        member.touch(now)
        lost_answer = self.state is GroupState.COMPLETING and unchanged
        nothing_new = self.state is GroupState.STABLE and unchanged and member.member_id != self.leader
        if lost_answer or nothing_new:
            answer.set_result(self._join_answer(member))
            return
        _resolve(member.joining, JoinAnswer(error=ErrorCode.rebalance_in_progress, member_id=member.member_id))
        member.joining = answer
        if self.state is GroupState.PREPARING:
            self._maybe_complete_join(now)
        else:
            self._prepare_rebalance(now)

    def _replace_static(self, asked: JoinRequest, answer: "asyncio.Future[JoinAnswer]", now: float) -> None:
        """A static member has restarted: it takes its predecessor's place, and the predecessor is fenced."""
        assert asked.instance_id is not None
        old = self.members.pop(self.instances[asked.instance_id])
        _resolve(old.joining, JoinAnswer(error=ErrorCode.fenced_instance_id, member_id=old.member_id))
        _resolve(old.syncing, SyncAnswer(error=ErrorCode.fenced_instance_id))
        member = Member(_new_member_id(asked), asked, now + asked.session_timeout_s, assignment=old.assignment)
        self.members[member.member_id] = member
        self.instances[asked.instance_id] = member.member_id
        was_leader = self.leader == old.member_id
        if was_leader:
            self.leader = member.member_id
        protocol = self.protocol_name or ""
        if self.state is GroupState.STABLE and old.metadata(protocol) == member.metadata(protocol):
            answer.set_result(self._static_answer(member, old_member_id=old.member_id, was_leader=was_leader))
            return
        member.joining = answer
        if self.state is GroupState.PREPARING:
            self._maybe_complete_join(now)
        else:
            self._prepare_rebalance(now)

    def _static_answer(self, member: Member, *, old_member_id: str, was_leader: bool) -> JoinAnswer:
        answer = self._join_answer(member)
        if not was_leader:
            return answer
        if member.asked.may_skip_assignment:
            return replace(answer, skip_assignment=True)
        # An older client would assign again if the answer named it as leader; naming its predecessor makes it follow.
        return replace(answer, leader=old_member_id, members=())

    # -- the rebalance ---------------------------------------------------------------------------------------------------------------

    def _prepare_rebalance(self, now: float) -> None:
        for member in self.members.values():
            _resolve(member.syncing, SyncAnswer(error=ErrorCode.rebalance_in_progress))
            member.syncing = None
        self.state = GroupState.PREPARING
        self.rebalance_ends_at = now + max((member.asked.rebalance_timeout_s for member in self.members.values()), default=0.0)
        self._maybe_complete_join(now)

    def _maybe_complete_join(self, now: float) -> None:
        everyone = all(member.joining is not None for member in self.members.values()) and not self.promised
        if self.state is GroupState.PREPARING and (everyone or now >= self.rebalance_ends_at):
            self._complete_join(now)

    def _complete_join(self, now: float) -> None:
        for member in list(self.members.values()):
            if member.joining is None and member.asked.instance_id is None:
                self._forget(member)
        joined = [member for member in self.members.values() if member.joining is not None]
        if self.members and not joined:
            # Only static members that are away: they keep their places until their sessions end.
            self.rebalance_ends_at = now + max(member.asked.rebalance_timeout_s for member in self.members.values())
            return
        self.generation += 1
        if not self.members:
            self.state, self.leader, self.protocol_name = GroupState.EMPTY, None, None
            return
        self.state = GroupState.COMPLETING
        self.protocol_name = self._elect_protocol()
        if self.leader not in {member.member_id for member in joined}:
            self.leader = joined[0].member_id
        for member in joined:
            member.touch(now)
            member.assignment = b""
            _resolve(member.joining, self._join_answer(member))
            member.joining = None

    def _elect_protocol(self) -> str:
        common = set.intersection(*({name for name, _ in member.asked.protocols} for member in self.members.values()))
        votes = Counter(next(name for name, _ in member.asked.protocols if name in common) for member in self.members.values())
        return votes.most_common(1)[0][0]

    def _join_answer(self, member: Member) -> JoinAnswer:
        protocol = self.protocol_name or ""
        everyone = ((other.member_id, other.asked.instance_id, other.metadata(protocol)) for other in self.members.values())
        return JoinAnswer(
            error=ErrorCode.none,
            member_id=member.member_id,
            generation=self.generation,
            protocol_type=self.protocol_type,
            protocol_name=protocol,
            leader=self.leader or "",
            members=tuple(everyone) if member.member_id == self.leader else (),
        )

    # -- after the join --------------------------------------------------------------------------------------------------------------

    def sync(
        self, member_id: str, instance_id: str | None, generation: int, assignments: dict[str, bytes], now: float
    ) -> "asyncio.Future[SyncAnswer]":
        """A member asks for its assignment, the leader brings everybody's; the answer comes when the leader's is there."""
        answer: asyncio.Future[SyncAnswer] = asyncio.get_running_loop().create_future()
        error = self.member_error(member_id, instance_id, generation)
        if error is ErrorCode.none and self.state is GroupState.PREPARING:
            error = ErrorCode.rebalance_in_progress
        if error is not ErrorCode.none:
            answer.set_result(SyncAnswer(error=error))
            return answer
        member = self.members[member_id]
        member.touch(now)
        if self.state is GroupState.STABLE:
            answer.set_result(self._sync_answer(member))
            return answer
        _resolve(member.syncing, SyncAnswer(error=ErrorCode.rebalance_in_progress))
        member.syncing = answer
        if member_id == self.leader:
            self._take_assignments(assignments, now)
        return answer

    def _take_assignments(self, assignments: dict[str, bytes], now: float) -> None:
        self.state = GroupState.STABLE
        for member in self.members.values():
            member.assignment = assignments.get(member.member_id, b"")
            if member.syncing is not None:
                member.touch(now)
                _resolve(member.syncing, self._sync_answer(member))
                member.syncing = None

    def _sync_answer(self, member: Member) -> SyncAnswer:
        return SyncAnswer(error=ErrorCode.none, protocol_type=self.protocol_type, protocol_name=self.protocol_name, assignment=member.assignment)

    def heartbeat(self, member_id: str, instance_id: str | None, generation: int, now: float) -> ErrorCode:
        """A member shows that it lives; the answer tells it to join again when a rebalance has begun."""
        error = self.member_error(member_id, instance_id, generation)
        if error is not ErrorCode.none:
            return error
        self.members[member_id].touch(now)
        return ErrorCode.rebalance_in_progress if self.state is GroupState.PREPARING else ErrorCode.none

    def leave(self, member_id: str, instance_id: str | None, now: float) -> ErrorCode:
        """A member goes. A static member may be named by its instance alone."""
        if instance_id is not None:
            held_by = self.instances.get(instance_id)
            if held_by is None:
                return ErrorCode.unknown_member_id
            if member_id and member_id != held_by:
                return ErrorCode.fenced_instance_id
            member_id = held_by
        if self.promised.pop(member_id, None) is not None:
            self._maybe_complete_join(now)
            return ErrorCode.none
        if member_id not in self.members:
            return ErrorCode.unknown_member_id
        self._remove(self.members[member_id], now)
        return ErrorCode.none

    def identity_error(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Whether this member id, and for a static member its instance, is the current one."""
        if instance_id is not None:
            held_by = self.instances.get(instance_id)
            if held_by is None:
                return ErrorCode.unknown_member_id
            return ErrorCode.none if held_by == member_id else ErrorCode.fenced_instance_id
        return ErrorCode.none if member_id in self.members else ErrorCode.unknown_member_id

    def member_error(self, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """Whether a member speaks for the current generation."""
        error = self.identity_error(member_id, instance_id)
        if error is ErrorCode.none and generation != self.generation:
            return ErrorCode.illegal_generation
        return error

    def commit_error(self, member_id: str, instance_id: str | None, generation: int, now: float) -> ErrorCode:
        """Whether offsets may be committed: by a member of this generation, or by anyone while nobody is in the group."""
        if generation < 0 and not self.members:
            return ErrorCode.none
        error = self.member_error(member_id, instance_id, generation)
        if error is not ErrorCode.none:
            return error
        self.members[member_id].touch(now)
        return ErrorCode.rebalance_in_progress if self.state is GroupState.COMPLETING else ErrorCode.none

    # -- time ------------------------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Expire members that were not heard in time, promised ids and a rebalance that took too long."""
        for member in [member for member in self.members.values() if not member.waits and member.expires_at <= now]:
            self._remove(member, now)
        for member_id in [member_id for member_id, until in self.promised.items() if until <= now]:
            del self.promised[member_id]
        self._maybe_complete_join(now)

    def abandon(self, answer: "asyncio.Future[JoinAnswer] | asyncio.Future[SyncAnswer]", now: float) -> None:
        """The connection that waited for ``answer`` is gone: the member's session runs again."""
        for member in self.members.values():
            if member.joining is answer:
                member.joining = None
                member.touch(now)
            if member.syncing is answer:
                member.syncing = None
                member.touch(now)

    def _remove(self, member: Member, now: float) -> None:
        self._forget(member)
        if self.state is GroupState.PREPARING:
            self._maybe_complete_join(now)
        else:
            self._prepare_rebalance(now)

    def _forget(self, member: Member) -> None:
        del self.members[member.member_id]
        if member.asked.instance_id is not None:
            self.instances.pop(member.asked.instance_id, None)
        _resolve(member.joining, JoinAnswer(error=ErrorCode.unknown_member_id, member_id=member.member_id))
        _resolve(member.syncing, SyncAnswer(error=ErrorCode.unknown_member_id))


def _new_member_id(asked: JoinRequest) -> str:
    return f"{asked.instance_id or asked.client_id or 'member'}-{uuid.uuid4()}"


def _resolve(waiting: "asyncio.Future[Answer] | None", answer: Answer) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(answer)
