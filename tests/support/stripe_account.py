"""Short ways to make an account and calls for it, without HTTP."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.forms import nest
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.metering.meter_events import MeterEvent, Submission, read_submission
from taximeter_sandbox.stripe.metering.meters import Meter, MeterDraft
from taximeter_sandbox.stripe.metering.meters import read_draft as read_meter_draft
from taximeter_sandbox.stripe.metering.processing import Processing
from taximeter_sandbox.stripe.selling.customers import CustomerDraft
from taximeter_sandbox.stripe.state.assumptions import Assumptions
from taximeter_sandbox.stripe.state.clock import SimulatedClock
from taximeter_sandbox.stripe.state.journal import Entry

NOW_MS = 1_800_000_000_000
NOW_S = NOW_MS // 1000
HOUR_MS = 3_600_000
VERSION = "2026-10-28.endive"


class MemoryJournal:
    """Keeps entries in a list."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def append(self, entry: Entry) -> None:
        self.entries.append(entry)

    def flush(self) -> None:
        pass


def make_account(journal: MemoryJournal | None = None, assumptions: Assumptions | None = None, processing: Processing | None = None) -> Account:
    return Account(
        seed="test",
        clock=SimulatedClock(lambda: NOW_MS),
        journal=journal or MemoryJournal(),
        assumptions=assumptions or Assumptions(),
        processing=processing or Processing(),
    )


def form(**fields: str) -> Parameters:
    return Parameters(nest(list(fields.items())))


def meter_draft(event_name: str = "tokens", /, **fields: str) -> MeterDraft:
    given = {"event_name": event_name, "display_name": "Tokens", "default_aggregation[formula]": "sum", **fields}
    return read_meter_draft(form(**given))


def add_meter(account: Account, event_name: str = "tokens", /, **fields: str) -> Meter:
    return account.create_meter(meter_draft(event_name, **fields), livemode=False, now_ms=NOW_MS)


def add_customer(account: Account, customer_id: str = "cus_1") -> str:
    return account.admit_customer(customer_id, NOW_MS).id


def anonymous_draft() -> CustomerDraft:
    return CustomerDraft(None, None, None, None, ())


def submission(account: Account, now_ms: int = NOW_MS, version: str = VERSION, /, **fields: str) -> Submission:
    """A validated call; the fields given replace the usual ones, and an empty field leaves the usual one out."""
    given = {"event_name": "tokens", "payload[stripe_customer_id]": "cus_1", "payload[value]": "5", **fields}
    kept = {name: value for name, value in given.items() if value}
    return read_submission(form(**kept), account.meters, account.assumptions, now_ms, version)


def send(account: Account, now_ms: int = NOW_MS, /, **fields: str) -> MeterEvent:
    return account.accept(submission(account, now_ms, **fields), now_ms)


def totals(account: Account) -> dict[tuple[str, str], tuple[str, int]]:
    return {lane: (str(line.total), line.events) for lane, line in account.books.lines()}
