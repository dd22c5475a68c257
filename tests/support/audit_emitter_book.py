"""Tallies of emitters, and the book that the audit makes of them."""

from audit.verification.emitters import EmitterBook
from audit.verification.report import EmitterLine
from metering.records.chain import ChainLink
from metering.records.tally import EventCounts, Range, RecordCounts, Tally


def tally(*ranges: Range, final: int | None = None, abandoned: tuple[Range, ...] = (), dropped: int = 0, partition: int = 0) -> Tally:
    return Tally(
        chain_id="c",
        partition=partition,
        link=ChainLink(0, 0, -1),
        checkpoint=-1,
        instance="i",
        catalogue="v",
        log_time_ms=0,
        records=RecordCounts(),
        events=EventCounts(),
        rows=(),
        ranges=[("e", first, last) for first, last in ranges],
        finals=[] if final is None else [("e", final)],
        abandoned=[("e", first, last) for first, last in abandoned],
        dropped=[("e", dropped)] if dropped else [],
    )


def book_of(*tallies: Tally) -> tuple[list[EmitterLine], list[str]]:
    book = EmitterBook()
    for each in tallies:
        book.take(each)
    return book.lines()
