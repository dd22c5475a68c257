"""The classic group protocol, step by step, on a clock that the test moves."""

import asyncio
from dataclasses import dataclass, field

from kio.schema.errors import ErrorCode
from taximeter_sandbox.kafka.groups.group import Group, GroupState
from taximeter_sandbox.kafka.groups.messages import JoinAnswer, JoinRequest, SyncAnswer


@dataclass
class _Table:
    """A group and its clock."""

    group: Group = field(default_factory=lambda: Group("g", members_max=5))
    now: float = 0.0

    def join(self, member_id: str = "", **options: object) -> "asyncio.Future[JoinAnswer]":
        defaults: dict[str, object] = {
            "instance_id": None,
            "client_id": "client",
            "client_host": "host",
            "session_timeout_s": 10.0,
            "rebalance_timeout_s": 30.0,
            "protocol_type": "consumer",
            "protocols": (("range", b"topics"),),
            "must_know_member_id": False,
            "may_skip_assignment": False,
        }
        request = JoinRequest(member_id=member_id, **{**defaults, **options})  # type: ignore[arg-type]  # a test's shorthand
        return self.group.join(request, self.now)

    def sync(self, answer: JoinAnswer, **assignments: bytes) -> "asyncio.Future[SyncAnswer]":
        return self.group.sync(answer.member_id, None, answer.generation, assignments, self.now)

    def beat(self, answer: JoinAnswer, instance: str | None = None) -> ErrorCode:
        return self.group.heartbeat(answer.member_id, instance, answer.generation, self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.group.tick(self.now)

    def two_stable(self, **options: object) -> tuple[JoinAnswer, JoinAnswer]:
        """A leader and a follower, both with an assignment."""
        first = self.join(instance_id="one" if options.get("static") else None).result()
        second_join = self.join(instance_id="two" if options.get("static") else None)
        again = self.join(first.member_id, instance_id="one" if options.get("static") else None)
        leader, follower = again.result(), second_join.result()
        waiting = self.group.sync(follower.member_id, None, follower.generation, {}, self.now)
        assert not waiting.done()
        assignments = {leader.member_id: b"L", follower.member_id: b"F"}
        assert self.group.sync(leader.member_id, None, leader.generation, assignments, self.now).result().assignment == b"L"
        assert waiting.result().assignment == b"F"
        return leader, follower


async def test_the_first_member_leads_and_the_second_makes_it_join_again() -> None:
    table = _Table()
    leader, follower = table.two_stable()
    assert (leader.generation, follower.generation) == (2, 2)
    assert leader.leader == follower.leader == leader.member_id
    assert [member for member, _, _ in leader.members] == [leader.member_id, follower.member_id]
    assert follower.members == ()
    assert table.group.state is GroupState.STABLE


async def test_a_join_answers_only_when_everybody_has_joined() -> None:
    table = _Table()
    leader, follower = table.two_stable()
    third = table.join()
    assert table.beat(leader) is ErrorCode.rebalance_in_progress
    table.join(leader.member_id)
    assert not third.done()
    rejoined = table.join(follower.member_id)
    assert third.result().generation == rejoined.result().generation == 3
    assert table.group.state is GroupState.COMPLETING


async def test_a_member_that_does_not_join_again_is_left_behind_when_the_rebalance_times_out() -> None:
    table = _Table()
    leader, follower = table.two_stable()
    third = table.join()
    table.join(leader.member_id)
    for _ in range(29):
        table.advance(1.0)
        table.beat(follower)  # it lives, but does not come
    assert not third.done()
    table.advance(1.5)
    assert third.result().generation == 3
    assert table.beat(follower) is ErrorCode.unknown_member_id


async def test_a_silent_member_is_expired_and_the_others_rebalance() -> None:
    table = _Table()
    leader, follower = table.two_stable()
    table.advance(9.0)
    assert table.beat(leader) is ErrorCode.none
    table.advance(2.0)
    assert table.beat(follower) is ErrorCode.unknown_member_id
    assert table.beat(leader) is ErrorCode.rebalance_in_progress


async def test_waiting_for_an_answer_is_not_silence_until_the_connection_goes() -> None:
    table = _Table()
    leader, _ = table.two_stable()
    waiting = table.join()
    for _ in range(4):
        table.advance(5.0)
        table.beat(leader)
    assert waiting.get_loop() is asyncio.get_running_loop()
    members = len(table.group.members)
    table.group.abandon(waiting, table.now)
    table.advance(9.0)
    table.beat(leader)
    table.advance(2.0)
    assert len(table.group.members) < members


async def test_a_follower_that_joins_again_unchanged_disturbs_nobody_and_a_leader_does() -> None:
    table = _Table()
    leader, follower = table.two_stable()
    assert table.join(follower.member_id).result().generation == 2
    assert table.beat(leader) is ErrorCode.none
    assert not table.join(leader.member_id).done()
    assert table.beat(follower) is ErrorCode.rebalance_in_progress


async def test_a_member_whose_topics_change_starts_a_rebalance() -> None:
    table = _Table()
    _, follower = table.two_stable()
    assert not table.join(follower.member_id, protocols=(("range", b"other topics"),)).done()
    assert table.group.state is GroupState.PREPARING


async def test_who_waits_for_an_assignment_is_told_when_a_rebalance_begins() -> None:
    table = _Table()
    first = table.join().result()
    second = table.join()
    table.join(first.member_id)
    waiting = table.sync(second.result())
    table.join()
    assert waiting.result().error is ErrorCode.rebalance_in_progress


async def test_a_newcomer_of_a_new_client_is_told_its_id_first() -> None:
    table = _Table()
    told = table.join(must_know_member_id=True).result()
    assert told.error is ErrorCode.member_id_required
    assert table.group.members == {}
    joined = table.join(told.member_id, must_know_member_id=True).result()
    assert (joined.error, joined.member_id) == (ErrorCode.none, told.member_id)
    assert table.join("invented").result().error is ErrorCode.unknown_member_id


async def test_an_id_that_was_promised_and_not_used_expires() -> None:
    table = _Table()
    told = table.join(must_know_member_id=True).result()
    table.advance(11.0)
    assert table.join(told.member_id, must_know_member_id=True).result().error is ErrorCode.unknown_member_id


async def test_the_protocol_that_all_know_and_most_prefer_is_chosen() -> None:
    table = _Table()
    first = table.join(protocols=(("range", b"r1"), ("sticky", b"s1"))).result()
    table.join(protocols=(("sticky", b"s2"), ("range", b"r2"), ("own", b"")))
    third = table.join(protocols=(("sticky", b"s3"), ("range", b"r3")))
    again = table.join(first.member_id, protocols=(("range", b"r1"), ("sticky", b"s1")))
    assert third.result().protocol_name == "sticky"
    assert [metadata for _, _, metadata in again.result().members] == [b"s1", b"s2", b"s3"]


async def test_a_member_that_shares_no_protocol_is_refused() -> None:
    table = _Table()
    table.join()
    for options in ({"protocols": (("sticky", b""),)}, {"protocol_type": "connect"}, {"protocols": ()}, {"protocol_type": ""}):
        assert table.join(**options).result().error is ErrorCode.inconsistent_group_protocol


async def test_a_group_has_a_largest_size() -> None:
    table = _Table()
    for _ in range(5):
        table.join()
    assert table.join().result().error is ErrorCode.group_max_size_reached


async def test_leaving_is_noticed_at_once_and_the_last_one_empties_the_group() -> None:
    table = _Table()
    leader, follower = table.two_stable()
    assert table.group.leave(leader.member_id, None, table.now) is ErrorCode.none
    assert table.group.leave(leader.member_id, None, table.now) is ErrorCode.unknown_member_id
    joined = table.join(follower.member_id).result()
    assert (joined.generation, joined.leader) == (3, follower.member_id)
    table.group.leave(follower.member_id, None, table.now)
    assert (table.group.state, table.group.generation) == (GroupState.EMPTY, 4)


async def test_a_static_follower_that_restarts_gets_its_assignment_without_a_rebalance() -> None:
    table = _Table()
    leader, follower = table.two_stable(static=True)
    restarted = table.join(instance_id="two").result()
    assert (restarted.error, restarted.generation) == (ErrorCode.none, 2)
    assert restarted.member_id != follower.member_id
    assert table.sync(restarted).result().assignment == b"F"
    assert table.beat(leader, "one") is ErrorCode.none
    assert table.beat(follower, "two") is ErrorCode.fenced_instance_id


async def test_a_static_leader_that_restarts_is_told_not_to_assign_anew() -> None:
    table = _Table()
    leader, _ = table.two_stable(static=True)
    old_client = table.join(instance_id="one").result()
    assert (old_client.leader, old_client.members) == (leader.member_id, ())
    assert old_client.member_id != leader.member_id
    new_client = table.join(instance_id="one", may_skip_assignment=True).result()
    assert (new_client.leader, new_client.skip_assignment, len(new_client.members)) == (new_client.member_id, True, 2)
    assert table.sync(new_client).result().assignment == b"L"


async def test_a_static_member_that_is_away_keeps_its_place_through_a_rebalance() -> None:
    table = _Table()
    leader, follower = table.two_stable(static=True)
    table.join()
    rejoined = table.join(leader.member_id, instance_id="one", session_timeout_s=100.0)
    table.group.members[follower.member_id].expires_at = 1_000.0
    table.advance(31.0)
    assert follower.member_id in {member for member, _, _ in rejoined.result().members}


async def test_a_static_member_leaves_by_its_instance_name() -> None:
    table = _Table()
    _, follower = table.two_stable(static=True)
    assert table.group.leave("", "three", table.now) is ErrorCode.unknown_member_id
    assert table.group.leave("somebody", "two", table.now) is ErrorCode.fenced_instance_id
    assert table.group.leave("", "two", table.now) is ErrorCode.none
    assert follower.member_id not in table.group.members


async def test_commits_follow_the_generation() -> None:
    table = _Table()
    assert table.group.commit_error("", None, -1, table.now) is ErrorCode.none
    leader, follower = table.two_stable()
    assert table.group.commit_error(leader.member_id, None, 2, table.now) is ErrorCode.none
    assert table.group.commit_error(leader.member_id, None, 1, table.now) is ErrorCode.illegal_generation
    assert table.group.commit_error("", None, -1, table.now) is ErrorCode.unknown_member_id
    table.join()
    assert table.group.commit_error(leader.member_id, None, 2, table.now) is ErrorCode.none
    table.join(leader.member_id)
    table.join(follower.member_id)
    assert table.group.commit_error(leader.member_id, None, 3, table.now) is ErrorCode.rebalance_in_progress
