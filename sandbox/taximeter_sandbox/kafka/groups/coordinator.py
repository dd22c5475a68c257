"""All consumer groups of the broker, and the clock that expires their members."""

import asyncio

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.groups.group import Group
from taximeter_sandbox.kafka.groups.messages import JoinAnswer, JoinRequest, SyncAnswer
from taximeter_sandbox.kafka.settings import BrokerSettings

_TICK_S = 0.1


class GroupCoordinator:
    """Groups by name. Membership lives in memory: after a restart every member is unknown and joins again, as after a long outage."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings = settings
        self.groups: dict[str, Group] = {}

    async def run(self) -> None:
        """Expire members until cancelled."""
        while True:
            await asyncio.sleep(_TICK_S)
            now = asyncio.get_running_loop().time()
            for group in list(self.groups.values()):
                group.tick(now)

    async def join(self, group_id: str, asked: JoinRequest) -> JoinAnswer:
        """Join a group; may wait as long as a rebalance takes."""
        error = self._join_error(group_id, asked)
        if error is not ErrorCode.none:
            return JoinAnswer(error=error, member_id=asked.member_id)
        group = self.groups.setdefault(group_id, Group(group_id, self._settings.group_members_max))
        answer = group.join(asked, _now())
        try:
            return await answer
        except asyncio.CancelledError:
            group.abandon(answer, _now())
            raise

    async def sync(self, group_id: str, member_id: str, instance_id: str | None, generation: int, assignments: dict[str, bytes]) -> SyncAnswer:
        """Get a member's assignment; may wait until the leader has made it."""
        group = self.groups.get(group_id)
        if group is None:
            return SyncAnswer(error=ErrorCode.unknown_member_id)
        answer = group.sync(member_id, instance_id, generation, assignments, _now())
        try:
            return await answer
        except asyncio.CancelledError:
            group.abandon(answer, _now())
            raise

    def heartbeat(self, group_id: str, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """A member lives."""
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.unknown_member_id
        return group.heartbeat(member_id, instance_id, generation, _now())

    def leave(self, group_id: str, member_id: str, instance_id: str | None) -> ErrorCode:
        """A member goes."""
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.unknown_member_id
        return group.leave(member_id, instance_id, _now())

    def commit_error(self, group_id: str, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """Whether offsets may be committed on these terms."""
        group = self.groups.get(group_id)
        if group is None:
            return ErrorCode.none if generation < 0 else ErrorCode.illegal_generation
        return group.commit_error(member_id, instance_id, generation, _now())

    def _join_error(self, group_id: str, asked: JoinRequest) -> ErrorCode:
        if not group_id:
            return ErrorCode.invalid_group_id
        shortest, longest = self._settings.session_timeout_ms_min / 1000, self._settings.session_timeout_ms_max / 1000
        if not shortest <= asked.session_timeout_s <= longest:
            return ErrorCode.invalid_session_timeout
        if group_id not in self.groups:
            if asked.member_id:
                return ErrorCode.unknown_member_id
            if len(self.groups) >= self._settings.groups_max:
                return ErrorCode.policy_violation
        return ErrorCode.none


def _now() -> float:
    return asyncio.get_running_loop().time()
