"""What the store has besides usage: how far it is folded, what was set aside, refused and held, and plans. Reads the store; raises sqlite3.Error."""

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from console.store.fold_places import FoldPlace

LINES_SHOWN_MAX: Final = 200


class SetAsideSum(NamedTuple):
    """Dead letters that are alike."""

    reason: str
    field: str
    letters: int
    events: int
    latest_ms: int
    latest_detail: str


class SetAsideLine(NamedTuple):
    """One dead letter. `place`: its partition and offset in usage.deadletters."""

    place: str
    log_time_ms: int
    reason: str
    field: str
    detail: str
    events: int
    source: str
    customer: str


class RefusalShown(NamedTuple):
    """A meter event that Stripe has not, or may not have."""

    at_ms: int
    outcome: str
    customer: str
    meter: str
    time_ms: int
    value: int
    detail: str


class HeldShown(NamedTuple):
    """What waits because its meter or its customer is refused."""

    customer: str
    meter: str
    units: int
    oldest_ms: int


class PlanShown(NamedTuple):
    """A plan of adjustments: how many of its parts the log has, over all partitions that have begun it. `abandoned`: no more will come."""

    plan: str
    kind: str
    by: str
    reason: str
    at_ms: int
    written: int
    parts: int
    units: int
    abandoned: bool


def folded_to(connection: sqlite3.Connection) -> dict[tuple[str, int], FoldPlace]:
    """By topic and partition."""
    return {(row[0], row[1]): FoldPlace(*row) for row in connection.execute("SELECT * FROM places")}


def kept_from_day(connection: sqlite3.Connection) -> int:
    """The first UTC day that the store has."""
    return int(connection.execute("SELECT value FROM about WHERE name = 'kept_from_day'").fetchone()[0])


def outcomes_of_day(connection: sqlite3.Connection, day: int) -> Sequence[tuple[str, int]]:
    """What became of the events that were logged on a UTC day, the most first."""
    return connection.execute("SELECT outcome, events FROM outcomes WHERE day = ? ORDER BY events DESC, outcome", (day,)).fetchall()


def set_aside_sums(connection: sqlite3.Connection) -> Sequence[SetAsideSum]:
    """The letters that are kept, by reason and field, the most first."""
    rows = connection.execute(
        "SELECT reason, field, count(*), sum(events), max(log_time_ms), detail FROM letters GROUP BY reason, field ORDER BY 4 DESC, 1, 2 LIMIT ?",
        (LINES_SHOWN_MAX,),
    )
    return [SetAsideSum(*row) for row in rows]


def set_aside_lines(connection: sqlite3.Connection, reason: str | None) -> Sequence[SetAsideLine]:
    """The newest letters, of one reason or of all."""
    rows = connection.execute(
        "SELECT partition || '/' || offset, log_time_ms, reason, field, detail, events, source, customer FROM letters"
        " WHERE coalesce(reason = ?1, 1) ORDER BY id DESC LIMIT ?2",
        (reason, LINES_SHOWN_MAX),
    )
    return [SetAsideLine(*row) for row in rows]


def refusals(connection: sqlite3.Connection, customer: str | None) -> Sequence[RefusalShown]:
    """The newest, of one customer or of all."""
    narrowed = "WHERE customer = ?" if customer is not None else "WHERE ? IS NULL"
    sql = f"SELECT at_ms, outcome, customer, meter, time_ms, value, detail FROM refused {narrowed} ORDER BY id DESC LIMIT {LINES_SHOWN_MAX}"
    return [RefusalShown(*row) for row in connection.execute(sql, (customer,))]


def held_sums(connection: sqlite3.Connection, customer: str | None) -> Sequence[HeldShown]:
    """The largest, of one customer or of all."""
    rows = connection.execute(
        "SELECT customer, meter, sum(units), min(oldest_ms) FROM held WHERE coalesce(customer = ?1, 1) GROUP BY 1, 2 ORDER BY 3 DESC LIMIT ?2",
        (customer, LINES_SHOWN_MAX),
    )
    return [HeldShown(*row) for row in rows]


def billed_of(connection: sqlite3.Connection, customer: str) -> str | None:
    """Who is billed at Stripe for a customer, by the last intent; None if there is none yet."""
    row = connection.execute("SELECT billed FROM billed WHERE customer = ?", (customer,)).fetchone()
    return None if row is None else str(row[0])


def held_units(connection: sqlite3.Connection) -> int:
    """All that is held."""
    return int(connection.execute("SELECT coalesce(sum(units), 0) FROM held").fetchone()[0])


def plans_begun(connection: sqlite3.Connection) -> Sequence[PlanShown]:
    """The newest first."""
    rows = connection.execute(
        "SELECT plan, max(CASE kind WHEN 'abandon' THEN '' ELSE kind END), max(by), max(reason), min(at_ms), sum(kind != 'abandon'),"
        " (SELECT coalesce(sum(parts), 0) FROM (SELECT max(parts) AS parts FROM plans AS one"
        " WHERE one.plan = plans.plan AND kind != 'abandon' GROUP BY partition)),"
        " sum(units), max(kind = 'abandon') FROM plans GROUP BY plan ORDER BY min(at_ms) DESC LIMIT ?",
        (LINES_SHOWN_MAX,),
    )
    return [PlanShown(*row)._replace(abandoned=bool(row[8])) for row in rows]
