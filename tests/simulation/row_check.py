"""What the rows of a tally say of each event in them: the window that it is counted in, and what it has of unknown fields."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from tests.simulation.journal import Emitted, Journal

MINUTE = 60_000
MYSTERY = "mystery"  # the usage field that no meter sums

Windows = Mapping[tuple[str, int], Set[int]]
"""By customer and digit, the windows in which a tally may count an event: one for each copy in its range."""


def row_objections(tally: Mapping[str, Any], journal: Journal, windows: Windows) -> Iterator[str]:
    """What is wrong with the rows of a tally that covers offsets, in sentences."""
    events = units = 0
    if any(row[3] % MINUTE for row in tally["rows"]):
        yield "has a window that starts within a minute"
    for customer, meter, _, window, quantity, _number in tally["rows"]:
        for event in _events_in(journal, tally["customers"][customer], quantity):
            may_be = windows.get((event.customer, event.digit), ())
            if window not in may_be:
                yield f"counts {event} in the window {window}, its copies are of {sorted(may_be)}"
            if event.mystery and tally["meters"][meter] == "tokens":
                events += 1
                units += event.mystery
    said = [tuple(entry) for entry in tally.get("unknown_usage", ())]
    wanted = [(MYSTERY, events, units)] if events else []
    if said != wanted:
        yield f"names {said} of unknown usage, what it counts has {wanted}"


def _events_in(journal: Journal, customer: str, quantity: int) -> Iterator[Emitted]:
    """The events of a customer that are in a sum."""
    digit = 0
    while quantity > 0:
        quantity, times = divmod(quantity, 4)
        event = journal.events.get((customer, digit)) if times else None
        if event is not None:
            yield event
        digit += 1
