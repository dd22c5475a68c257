"""Tables of records: bounded, in order of creation, every change noted in the journal."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from taximeter_sandbox.stripe.http.errors import ApiError, no_such
from taximeter_sandbox.stripe.state.journal import Entry
from taximeter_sandbox.stripe.state.records import restored


class Record(Protocol):
    """A frozen dataclass with an id."""

    @property
    def id(self) -> str:
        """Stripe's id."""


R = TypeVar("R", bound=Record)


class Table(Generic[R]):
    """Records of one kind by id. `name` is `product` in `billing.product`, the journal's entry; `noun` is what errors call one."""

    def __init__(self, name: str, noun: str, kind: type[R], note: Callable[[Entry], None], *, maximum: int) -> None:
        self.entry_name = f"billing.{name}"
        self._noun = noun
        self._kind = kind
        self._note = note
        self._maximum = maximum
        self._by_id: dict[str, R] = {}

    def __iter__(self) -> Iterator[R]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, identity: str) -> bool:
        return identity in self._by_id

    def newest_first(self) -> Iterator[R]:
        """All records, as Stripe lists them."""
        return reversed(self._by_id.values())

    def get(self, identity: str, param: str = "id", status: int = 404) -> R:
        """Raises ApiError when there is none: 404 for the object addressed, 400 for one that `param` refers to."""
        record = self._by_id.get(identity)
        if record is None:
            raise no_such(self._noun, identity, param, status)
        return record

    def put(self, record: R, now_ms: int) -> None:
        """Add a record or put a new version in place. Raises ApiError (500) when the table is full."""
        self.make_room(0 if record.id in self._by_id else 1)
        self._by_id[record.id] = record
        self._note([self.entry_name, now_ms, record])  # frozen, so it may be written later; orjson writes dataclasses as objects

    @property
    def has_room(self) -> bool:
        """Whether one more record fits."""
        return len(self._by_id) < self._maximum

    def make_room(self, count: int) -> None:
        """Raises ApiError (500) unless `count` more records fit."""
        if len(self._by_id) + count > self._maximum:
            raise ApiError(500, f"The simulator is full: it keeps {self._maximum} of {self._noun}.", outcome="simulator_full", kind="api_error")

    def restore(self, given: Mapping[str, Any]) -> R:
        """Put a record in place that the journal has, without noting it again."""
        record = restored(self._kind, given)
        self._by_id[record.id] = record
        return record
