"""Sums of usage out of the store.

Whole days are read from the rows by the day, and only the hours at the edges of the range one by one.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from console.answering.usage_question import UsageAsked, cursor_of, day_text, hour_text
from console.folding.usage_changes import HOURS_A_DAY, UsageAmounts
from console.store.store_names import NameKind
from console.store.store_schema import ALL_CUSTOMERS, AMOUNTS

LAST_CHARACTER: Final = "\U0010ffff"
EXACT_NUMBER_MAX: Final = 2**53
"""Larger numbers are texts in JSON: many readers make a float of a number."""


class SummedRow(NamedTuple):
    """The values of the groups as they are shown, None where a meter has no such dimension; and the sums."""

    groups: tuple[str | None, ...]
    amounts: UsageAmounts


@dataclass(frozen=True, slots=True)
class UsageAnswer:
    """`next`: the cursor of what follows; None if this is all."""

    rows: Sequence[SummedRow]
    next: str | None


def answer_usage(connection: sqlite3.Connection, asked: UsageAsked, beginning: str = "") -> UsageAnswer:
    """The rows that are asked for, of customers whose ids begin so. Reads the store; raises sqlite3.Error."""
    stretches = list(_stretches(asked))
    filters, values = _filters(connection, asked, beginning)
    if filters is None:
        return UsageAnswer((), None)
    sources: list[str] = []
    given: list[int | str] = []
    for table, unit, start, end in stretches:
        hour = {"hours": "hour" if unit == "hour" else f"hour / {HOURS_A_DAY}", "days": "day"}[table]
        sources.append(f"SELECT {hour} AS at, customer, meter, dimensions, {', '.join(AMOUNTS)} {_source(table, asked)} {filters}")
        given += [start, end, *values]
    sql = _grouped(asked, " UNION ALL ".join(sources))
    found = connection.execute(sql, [*_dimension_paths(asked), *given, *(asked.after or ()), asked.limit + 1]).fetchall()
    count = len(asked.groups)
    rows = [SummedRow(_shown(asked, row[:count]), UsageAmounts(*row[count:])) for row in found[: asked.limit]]
    return UsageAnswer(rows, cursor_of(found[asked.limit - 1][:count]) if len(found) > asked.limit else None)


def row_json(row: SummedRow, groups: Sequence[str]) -> dict[str, Any]:
    """A row for programs. `waiting` is counted, and in no intent yet."""
    amounts = row.amounts
    numbers = {
        "units": amounts.counted,
        "adjusted": amounts.adjusted,
        "events": amounts.events,
        "reported": amounts.told,
        "waiting": amounts.counted - amounts.planned,
        "sending": amounts.open,
        "in_doubt": amounts.doubt,
        "refused": amounts.refused,
    }
    return dict(zip(groups, row.groups, strict=True)) | {name: exact_number(number) for name, number in numbers.items()}


def exact_number(number: int) -> int | str:
    """A number that every reader of JSON takes exactly."""
    return number if abs(number) <= EXACT_NUMBER_MAX else str(number)


def _stretches(asked: UsageAsked) -> Iterator[tuple[str, str, int, int]]:
    """Tables and ranges that make up what is asked for."""
    start, end = asked.from_hour, asked.to_hour
    if "hour" in asked.groups:
        yield "hours", "hour", start, end
        return
    first, last = -(-start // HOURS_A_DAY), end // HOURS_A_DAY
    if first >= last:
        yield "hours", "day", start, end
        return
    yield "days", "day", first, last
    for edge in ((start, first * HOURS_A_DAY), (last * HOURS_A_DAY, end)):
        if edge[0] < edge[1]:
            yield "hours", "day", *edge


def _source(table: str, asked: UsageAsked) -> str:
    """Rows are in the order of customers, and the sums over all of them are there, too: they are enough where no single one is asked for."""
    column = table.removesuffix("s")
    if asked.customer is not None:
        return f"FROM {table} WHERE {column} >= ? AND {column} < ?"
    if "customer" not in asked.groups:
        return f"FROM {table} WHERE customer = {ALL_CUSTOMERS} AND {column} >= ? AND {column} < ?"
    if table == "days":
        return f"FROM days WHERE customer > {ALL_CUSTOMERS} AND day >= ? AND day < ?"
    # Customer by customer, so that only the hours of the range are read.
    return f"FROM names CROSS JOIN hours ON hours.customer = names.id WHERE names.kind = {NameKind.CUSTOMER:d} AND hour >= ? AND hour < ?"


def _filters(connection: sqlite3.Connection, asked: UsageAsked, beginning: str) -> tuple[str | None, list[int | str]]:
    """The conditions on names, by number; None if the store has no such name."""
    conditions = ""
    values: list[int | str] = []
    for column, kind, name in (("customer", NameKind.CUSTOMER, asked.customer), ("meter", NameKind.METER, asked.meter)):
        if name is None:
            continue
        row = connection.execute("SELECT id FROM names WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        if row is None:
            return None, []
        conditions += f" AND {column} = ?"
        values.append(int(row[0]))
    if beginning:
        conditions += f" AND customer IN (SELECT id FROM names WHERE kind = {NameKind.CUSTOMER:d} AND name >= ? AND name < ?)"
        values += [beginning, beginning + LAST_CHARACTER]
    return conditions, values


def _grouped(asked: UsageAsked, source: str) -> str:
    """By numbers first, of which there are few; then by names, and dimensions out of their sets."""
    inner: list[str] = [name for name in ("customer", "meter") if name in asked.groups]
    inner += ["at"] if {"day", "hour"} & set(asked.groups) else []
    inner += ["dimensions"] if asked.dimensions else []
    sums = ", ".join(f"sum({name}) AS {name}" for name in AMOUNTS)
    summed = f"SELECT {', '.join([*inner, sums])} FROM ({source})" + (f" GROUP BY {', '.join(inner)}" if inner else "")
    columns, joins = [], ""
    for number, name in enumerate(asked.groups):
        if name in {"customer", "meter"}:
            joins += f" JOIN names AS {name}_names ON {name}_names.id = summed.{name}"
            columns.append(f"{name}_names.name AS g{number}")
        elif name in {"day", "hour"}:
            columns.append(f"at AS g{number}")
        else:
            columns.append(f"coalesce('=' || json_extract(dimension_names.name, ?), '') AS g{number}")
    if asked.dimensions:
        joins += " JOIN names AS dimension_names ON dimension_names.id = summed.dimensions"
    keys = [f"g{number}" for number in range(len(asked.groups))]
    totals = ", ".join(f"sum({name})" for name in AMOUNTS)
    if not keys:
        return f"SELECT {', '.join(AMOUNTS)} FROM ({summed}) WHERE counted IS NOT NULL LIMIT ?"
    behind = f"WHERE ({', '.join(keys)}) > ({', '.join('?' * len(keys))})" if asked.after is not None else ""
    named = f"SELECT {', '.join(columns)}, {', '.join(f'summed.{name} AS {name}' for name in AMOUNTS)} FROM ({summed}) AS summed{joins}"
    order = ", ".join(keys)
    return f"SELECT {order}, {totals} FROM ({named}) {behind} GROUP BY {order} ORDER BY {order} LIMIT ?"


def _dimension_paths(asked: UsageAsked) -> list[str]:
    return [f'$."{name}"' for name in asked.dimensions]


def _shown(asked: UsageAsked, values: Sequence[Any]) -> tuple[str | None, ...]:
    def shown(name: str, value: Any) -> str | None:
        if name == "day":
            return day_text(value)
        if name == "hour":
            return hour_text(value)
        if name in {"customer", "meter"}:
            return str(value)
        return str(value)[1:] if value else None

    return tuple(shown(name, value) for name, value in zip(asked.groups, values, strict=True))
