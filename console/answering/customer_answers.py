"""What a page shows of customers."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from console.answering.store_lists import HeldShown, RefusalShown, billed_of, held_sums, refusals
from console.answering.usage_answer import SummedRow, answer_usage
from console.answering.usage_question import UsageAsked
from console.folding.usage_changes import HOURS_A_DAY

DIMENSIONS_SHOWN_MAX: Final = 4
SETS_LOOKED_AT_MAX: Final = 1_000
HOURS_SHOWN_MAX: Final = 7 * HOURS_A_DAY  # of a longer range, days


@dataclass(frozen=True, slots=True)
class CustomerAnswer:
    """`dimensions`: the names by which `by_meter` is grouped beside the meter. `by_time`: groups are the hour or the day, and the meter.

    `billed`: the customer at Stripe.
    """

    dimensions: tuple[str, ...]
    by_meter: Sequence[SummedRow]
    by_time: Sequence[SummedRow]
    by_hour: bool
    billed: str | None
    held: Sequence[HeldShown]
    refused: Sequence[RefusalShown]


def answer_customer(connection: sqlite3.Connection, asked: UsageAsked, customer: str) -> CustomerAnswer:
    """All of one customer in a range. Reads the store."""
    dimensions = dimension_names(connection)
    by_hour = asked.to_hour - asked.from_hour <= HOURS_SHOWN_MAX and "hour" in asked.groups
    asked = replace(asked, customer=customer)
    return CustomerAnswer(
        dimensions,
        answer_usage(connection, replace(asked, groups=("meter", *dimensions))).rows,
        answer_usage(connection, replace(asked, groups=("hour" if by_hour else "day", "meter"))).rows,
        by_hour,
        billed_of(connection, customer),
        held_sums(connection, customer),
        refusals(connection, customer),
    )


def dimension_names(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Names of dimensions that meters have, in order."""
    rows = connection.execute(
        "SELECT DISTINCT key FROM (SELECT name FROM names WHERE kind = 3 ORDER BY id LIMIT ?) AS sets, json_each(sets.name) ORDER BY key LIMIT ?",
        (SETS_LOOKED_AT_MAX, DIMENSIONS_SHOWN_MAX),
    )
    return tuple(str(row[0]) for row in rows)
