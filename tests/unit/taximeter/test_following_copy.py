"""A standing copy goes on beside what cannot be read or does not answer now."""

from collections import Counter

import pytest

from metering.copying.copy_rounds import CopyEnds, CopyRounds, OnCopied
from metering.copying.copy_target import CopyDiverged
from metering.kafka.partition_log import LogUnavailable
from metering.records.fail_closed import RecordUnreadable
from taximeter.moving_commands import topics_copy
from taximeter.moving_commands.topics_copy import follow


class FailingRounds(CopyRounds):
    """Copies a record a round, then fails."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def copy(self, on_copied: OnCopied = lambda _topic, _count: None) -> CopyEnds:
        on_copied("usage.events", 1)
        raise self._failure


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_copy, "COPY_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(topics_copy, "AFTER_FAILURE_SECONDS", 0.0)


@pytest.mark.parametrize("failure", [LogUnavailable("no answer"), RecordUnreadable("all but 1 of 2 partitions are copied")], ids=["away", "damage"])
async def test_it_says_why_and_goes_on(failure: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    copied = Counter[str]()
    for _ in range(2):
        await follow(FailingRounds(failure), copied)
    assert copied == {"usage.events": 2}
    assert capsys.readouterr().err.count(f"{failure}; trying again") == 2


async def test_a_copy_that_is_none_any_more_ends_it() -> None:
    with pytest.raises(CopyDiverged):
        await follow(FailingRounds(CopyDiverged("it was written to")), Counter())
