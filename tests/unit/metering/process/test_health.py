import pytest

from metering.process.health import Health, Progress
from tests.support.manual_clock import ManualClock


def test_a_stale_heartbeat_means_not_alive() -> None:
    clock = ManualClock()
    health = Health(clock, heartbeat_seconds_max=10)
    clock.advance(10)
    assert health.liveness().ok
    clock.advance(1)
    assert health.liveness().conditions == {"event_loop": "the event loop has not run for 11 s"}
    health.beat()
    assert health.liveness().ok


def test_readiness_needs_started_not_stopping_and_every_condition() -> None:
    health = Health(ManualClock())
    problem: str | None = "no partitions"
    health.require("partitions", lambda: problem)
    assert health.readiness().conditions == {"started": "still starting", "not_stopping": None, "partitions": "no partitions"}
    assert not health.startup().ok
    health.mark_started()
    assert health.startup().ok
    assert not health.readiness().ok
    problem = None
    assert health.readiness().ok
    health.mark_stopping()
    assert health.readiness().conditions["not_stopping"] == "draining"
    assert health.liveness().ok


def test_what_is_mentioned_does_not_decide() -> None:
    health = Health(ManualClock())
    health.mark_started()
    said: list[str | None] = [None]
    health.mention("refused_partitions", lambda: said[0])
    assert health.readiness().mentions == {}
    said[0] = "partition 3"
    assert health.readiness().ok
    assert health.readiness().mentions == {"refused_partitions": "partition 3"}


def test_a_condition_that_raises_fails_without_its_text() -> None:
    health = Health(ManualClock())
    health.mark_started()

    def broken() -> str | None:
        raise KeyError("planted-secret")

    health.require("broken", broken)
    assert health.readiness().conditions["broken"] == "the check failed: KeyError"


def test_a_condition_can_be_released_and_its_name_is_unique() -> None:
    health = Health(ManualClock())
    health.mark_started()
    health.require("partition-3", lambda: "stopped")
    with pytest.raises(ValueError, match="partition-3"):
        health.require("partition-3", lambda: None)
    health.release("partition-3")
    health.release("partition-3")
    assert health.readiness().ok


def test_idleness_is_no_stall_and_waiting_work_is() -> None:
    clock = ManualClock()
    progress = Progress(clock, what="records", stall_seconds=60)
    clock.advance(10_000)
    assert progress.problem() is None
    progress.pending(7)
    clock.advance(60)
    assert progress.problem() is None
    clock.advance(1)
    assert progress.problem() == "7 records waiting and nothing moved for 61 s"
    progress.pending(9)
    assert progress.problem() is not None
    progress.moved()
    assert progress.problem() is None
    clock.advance(61)
    progress.pending(0)
    assert progress.problem() is None


def test_the_stall_clock_starts_when_work_arrives() -> None:
    clock = ManualClock()
    progress = Progress(clock, what="records", stall_seconds=60)
    progress.pending(1)
    progress.pending(0)
    clock.advance(1000)
    progress.pending(1)
    assert progress.problem() is None
