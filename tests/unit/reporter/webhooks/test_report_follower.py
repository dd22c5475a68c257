"""Error reports that another process recorded are learnt from the ledger, once, and nothing that is older."""

from metering.folds.ledger import Ledger
from metering.records.ledger_records import Rejection, encode_receipt, encode_rejection
from reporter.webhooks.report_follower import REPORTS_LOOK_SECONDS, ReportFollower
from tests.support.manual_clock import ManualClock
from tests.support.metering_corrections import receipt
from tests.support.metering_memory_log import MemoryLog, finished

LEDGER = "usage.ledger"


def rejection(event_id: str) -> Rejection:
    return Rejection(0, "other", event_id, "tokens", "archived_meter", "inactive", 7, (), 0, 1, 2)


def test_what_is_recorded_from_now_on_is_handed_on_once() -> None:
    log, found = MemoryLog(), list[str]()
    follower = ReportFollower(log, LEDGER, lambda rejection: found.append(rejection.event_id), ManualClock())
    log.append(LEDGER, encode_rejection(rejection("old")), at_ms=1)
    finished(follower.look())
    for value in (encode_rejection(rejection("a")), encode_receipt(receipt(Ledger())), b"not ours", None, encode_rejection(rejection("b"))):
        log.append(LEDGER, value, at_ms=1)
    for _ in range(2):
        finished(follower.look())
    assert found == ["a", "b"]
    assert REPORTS_LOOK_SECONDS < 10
