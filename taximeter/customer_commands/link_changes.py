"""What links would change: from a command line or a file, against those that are there. Pure but for the reading of the file."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from taximeter_emitter.wire.errors import EventRejected, TaximeterError
from taximeter_emitter.wire.event import check_text
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX

from metering.folds.customer_links import LINKS_MAX, CustomerLinks
from metering.records.notes.customer_link import link_problem

LINKS_HEADER: Final = ["customer", "stripe_customer"]
LINE_PROBLEMS_MAX: Final = 20


class LinksUnusable(TaximeterError):
    """Links that cannot be written. The message says which, and why."""


@dataclass(slots=True)
class LinkChanges:
    """Customers with whom they are to be linked; `changed` ones also with whom they are linked now. `unchanged`: how many are so already."""

    new: dict[str, str] = field(default_factory=dict)
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    unchanged: int = 0

    @property
    def to_write(self) -> Mapping[str, str]:
        """All that is to be written."""
        return {**self.new, **{customer: after for customer, (_, after) in self.changed.items()}}

    def text(self) -> str:
        """In words."""
        again = f"{len(self.changed):,} to another one than now, {self.unchanged:,} are so already"
        return f"{len(self.new):,} customers are linked for the first time, {again}"


def changes_of(wanted: Mapping[str, str], links: CustomerLinks) -> LinkChanges:
    """What these links change. Raises LinksUnusable if there would be too many."""
    found = LinkChanges()
    for customer, stripe_customer in wanted.items():
        link = links.link_of(customer)
        now = "" if link is None else link.stripe_customer
        if now == stripe_customer:
            found.unchanged += 1
        elif not now:
            found.new[customer] = stripe_customer
        else:
            found.changed[customer] = (now, stripe_customer)
    if len(links) + len(found.new) > LINKS_MAX:
        raise LinksUnusable(f"there would be {len(links) + len(found.new):,} links; at most {LINKS_MAX:,} are taken in")
    return found


def wanted_link(customer: str, stripe_customer: str) -> dict[str, str]:
    """One link. Raises LinksUnusable."""
    return checked_links({customer: stripe_customer})


def checked_links(links: Mapping[str, str]) -> dict[str, str]:
    """The same, if all can be used. Raises LinksUnusable."""
    return _checked((0, customer, stripe_customer) for customer, stripe_customer in links.items())


def links_in(file: Path) -> dict[str, str]:
    """The links of a file of comma-separated values. Raises LinksUnusable with the first problems, and OSError."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            rows = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(rows, [])]
            if header != LINKS_HEADER:
                raise LinksUnusable(f"{file}: the first line must be {','.join(LINKS_HEADER)}, not {','.join(header)[:100]!r}")
            return _checked(_fields(rows, file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise LinksUnusable(f"{file}: it is no text of comma-separated values in UTF-8: {error}") from error


def _fields(rows: Iterable[list[str]], file: Path) -> Iterable[tuple[int, str, str]]:
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != len(LINKS_HEADER):
            raise LinksUnusable(f"{file}: line {number} has {len(row)} fields, not {len(LINKS_HEADER)}")
        yield number, row[0].strip(), row[1].strip()


def _checked(links: Iterable[tuple[int, str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    problems = []
    for number, customer, stripe_customer in links:
        where = f"line {number}: " if number else ""
        try:
            check_text(customer, "customer", CUSTOMER_CHARS_MAX)
        except EventRejected as error:
            problems.append(f"{where}customer {error.detail}")
            continue
        problem = "there is no Stripe customer" if not stripe_customer else link_problem(stripe_customer)
        if problem is not None:
            problems.append(f"{where}{problem}")
        elif found.setdefault(customer, stripe_customer) != stripe_customer:
            problems.append(f"{where}{customer} is linked to {found[customer]} by a line before")
    if problems:
        more = f"; and {len(problems) - LINE_PROBLEMS_MAX:,} more" if len(problems) > LINE_PROBLEMS_MAX else ""
        raise LinksUnusable("; ".join(problems[:LINE_PROBLEMS_MAX]) + more)
    return found
