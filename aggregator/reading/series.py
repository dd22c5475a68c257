"""Dense numbers for series (a customer with a set of dimensions), and what is worked out once for each of them."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Final

import numpy as np
import orjson
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import Dimensions, check_text, parse_dimensions
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX

from aggregator.ids.fingerprints import Fingerprints, Mask, Words
from aggregator.ids.id_index import CONTENT_MASK, content_of, field_factor
from aggregator.ids.identities import Identities
from aggregator.reading.events import Events
from metering.records.integer_columns import Integers

SERIES_MAX: Final = 50_000
"""Series, or texts that they were read from, at which the table is to be emptied; what is read at once may go beyond."""
NO_SERIES: Final = -1


class SeriesTable:
    """Series by number, from 0, in the order of their first appearance. `longest`: characters of the longest, with 8 for each dimension.

    Those of customers that belong to another partition have numbers, too.
    """

    def __init__(self, identities: Identities, is_home: Callable[[str], bool]) -> None:
        self.names: list[tuple[str, Dimensions]] = []
        self.longest = 0
        self._identities = identities
        self._is_home = is_home
        self._tables: dict[Dimensions, dict[str, int]] = {}
        self._texts: dict[tuple[str, bytes], int] = {}
        self._asked = 0  # texts that others remember
        self._bare: Words = np.zeros(1_000, np.uint64)  # the content number of each without quantities
        self._customers: Fingerprints = np.zeros((1_000, 2), np.uint64)  # the secret number of the customer of each
        self._home: Mask = np.zeros(1_000, np.bool_)
        self._has_foreign = False
        self._filled = 0  # of the columns of identities and contents
        self._homes: dict[str, bool] = {}
        self._homes_filled = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_full(self) -> bool:
        """Whether it is to be emptied."""
        return max(len(self.names), len(self._texts), self._asked) >= SERIES_MAX

    @property
    def has_foreign(self) -> bool:
        """Whether there are series of customers that belong to another partition."""
        self._fill_homes()
        return self._has_foreign

    def number(self, customer: str, dimensions: Dimensions) -> int:
        """The number of a series; a new one is given one."""
        table = self._tables.setdefault(dimensions, {})
        number = table.get(customer)
        if number is None:
            number = table[customer] = len(self.names)
            self.names.append((customer, dimensions))
            self.longest = max(self.longest, len(customer) + sum(len(name) + len(value) + 8 for name, value in dimensions))
        return number

    def numbers(self, batch: Batch) -> Sequence[int]:
        """The number of each series of a batch."""
        tables = [self._tables.setdefault(dimensions, {}) for dimensions in batch.dimensions]
        # All in C: this runs once for each series of each batch.
        found = list(map(dict.get, map(tables.__getitem__, batch.series_dimensions), batch.customers))
        if None not in found:
            return found  # type: ignore[return-value]  # no None is in it
        places = zip(batch.customers, map(batch.dimensions.__getitem__, batch.series_dimensions), strict=True)
        return [self.number(*named) if number is None else number for number, named in zip(found, places, strict=True)]

    def known_texts(self, customers: Iterable[str], dimensions: Iterable[bytes]) -> list[int]:
        """The number of the series of each valid customer with dimensions, given as JSON, if it is known; otherwise NO_SERIES."""
        return list(map(self._texts.get, zip(customers, dimensions, strict=True), repeat(NO_SERIES)))

    def learn_text(self, customer: str, dimensions: bytes) -> int:
        """The number of the series of a customer with dimensions, given as JSON; NO_SERIES if one of them is not valid."""
        number = self._texts.get((customer, dimensions), NO_SERIES)
        if number == NO_SERIES:
            number = self._of_values(customer, dimensions)
            if number != NO_SERIES:
                self._texts[customer, dimensions] = number
        return number

    def learn_json(self, customer: bytes, dimensions: bytes) -> int:
        """The same of a customer that is given as JSON, too; the asker remembers the answer."""
        self._asked += 1
        try:
            return self._of_values(orjson.loads(customer), dimensions)
        except orjson.JSONDecodeError:
            return NO_SERIES

    def _of_values(self, customer: object, dimensions: bytes) -> int:
        try:
            return self.number(check_text(customer, "customer", CUSTOMER_CHARS_MAX), parse_dimensions(orjson.loads(dimensions), "dimensions"))
        except (EventRejected, orjson.JSONDecodeError):
            return NO_SERIES

    def identities(self, events: Events) -> Fingerprints:
        """The identity of each event. It means nothing for one without a fingerprint."""
        self._fill()
        return events.fingerprints ^ self._customers.take(events.series, axis=0)

    def contents(self, events: Events) -> Words:
        """`content_of` each event. What is cut off at 64 bits on the way is masked away in any case."""
        self._fill()
        totals: Words = self._bare.take(events.series)
        for name, column in events.usage.items():
            totals += column.view(np.uint64) * np.uint64(field_factor(name))
        if events.unknown:
            parts = [field_factor(name) * quantity & CONTENT_MASK for _, name, quantity in events.unknown]
            np.add.at(totals, [place for place, _, _ in events.unknown], np.array(parts, np.uint64))
        totals &= np.uint64(CONTENT_MASK)
        return totals

    def are_home(self, series: Integers) -> Mask:
        """Which of these series belong to this partition."""
        self._fill_homes()
        home: Mask = self._home.take(series)
        return home

    def clear(self) -> None:
        """Forget all; numbers given before mean nothing any more."""
        self.names, self.longest, self._tables, self._filled, self._homes_filled = [], 0, {}, 0, 0
        self._has_foreign = False
        self._homes.clear()
        self._texts.clear()
        self._asked = 0

    def _fill(self) -> None:
        """Work out the columns of identities and contents for the series that are new."""
        start, end = self._filled, len(self.names)
        if start == end:
            return
        if end > len(self._bare):
            more = 2 * end - len(self._bare)
            self._bare = np.concatenate([self._bare, np.zeros(more, np.uint64)])
            self._customers = np.concatenate([self._customers, np.zeros((more, 2), np.uint64)])
        new = self.names[start:end]
        self._bare[start:end] = [content_of(customer, dimensions, ()) for customer, dimensions in new]
        self._customers[start:end] = self._identities.numbers([customer for customer, _ in new])
        self._filled = end

    def _fill_homes(self) -> None:
        start, end = self._homes_filled, len(self.names)
        if start == end:
            return
        if end > len(self._home):
            self._home = np.concatenate([self._home, np.zeros(2 * end - len(self._home), np.bool_)])
        homes = self._homes
        for number in range(start, end):
            customer = self.names[number][0]
            home = homes.get(customer)
            if home is None:
                home = homes[customer] = self._is_home(customer)
            self._home[number] = home
            self._has_foreign = self._has_foreign or not home
        self._homes_filled = end
