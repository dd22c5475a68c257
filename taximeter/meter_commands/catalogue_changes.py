"""What another version of the catalogue changes, from both definitions alone. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from metering.records.meters import Catalogue

_Entries = Mapping[str, Sequence[Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class CatalogueChanges:
    """Names of meters that are `added`, `dropped` and `changed`, and of usage fields that are known only to the new or the old version.

    `refounded`: meters that tell the latest value in one of the versions ever published and add up in the other; Stripe's meter cannot change so.
    `before` and `after`: the entries of the definitions, by the name of the meter.
    """

    added: Sequence[str]
    dropped: Sequence[str]
    changed: Sequence[str]
    known: Sequence[str]
    forgotten: Sequence[str]
    before: _Entries
    after: _Entries
    refounded: Sequence[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether both versions count alike."""
        return not (self.added or self.dropped or self.changed or self.known or self.forgotten)

    def refusals(self, may_drop: Sequence[str]) -> Iterator[str]:
        """Why it may not be applied, a sentence each."""
        for name in self.dropped:
            if name not in may_drop:
                yield f"the meter {name} would be dropped: from then on its usage is billed to nobody. If that is meant, add --drop {name}"
        for name in self.refounded:
            yield (
                f'the meter {name} would change between aggregate = "last" and one that adds up, and Stripe never changes the formula of a meter:'
                " give it another event_name"
            )
        for name in may_drop:
            if name not in self.dropped:
                yield f"--drop {name}: this meter is not dropped; the settings file has it, or the log does not"

    def lines(self) -> Iterator[str]:
        """What changes in the bill, for people."""
        for name in self.added:
            yield f"+ {name}: counts from then on, as {_said(self.after[name])}"
        for name in self.changed:
            yield f"~ {name}: counts {_said(self.before[name])} until then, and {_said(self.after[name])} from then on"
        for name in self.dropped:
            yield f"- {name}: counts nothing from then on; what it has counted is still reported"
        if self.known:
            yield f"  usage fields that are known from then on: {', '.join(self.known)}"
        if self.forgotten:
            yield f"  usage fields that nobody sums any more: {', '.join(self.forgotten)}; to events they are unknown usage, named and not billed"

    def as_json(self) -> Mapping[str, Any]:
        """For scripts."""
        return {
            "added": {name: self.after[name] for name in self.added},
            "changed": {name: {"before": self.before[name], "after": self.after[name]} for name in self.changed},
            "dropped": {name: self.before[name] for name in self.dropped},
            "fields_known": self.known,
            "fields_forgotten": self.forgotten,
        }


def changes_between(old: Catalogue, new: Catalogue, before_that: Sequence[Catalogue] = ()) -> CatalogueChanges:
    """What `new` changes. `before_that`: the versions that were published before `old`."""
    before, after = _entries(old), _entries(new)
    return CatalogueChanges(
        added=[name for name in after if name not in before],
        dropped=[name for name in before if name not in after],
        changed=[name for name in after if name in before and after[name] != before[name]],
        known=sorted(new.known_fields - old.known_fields),
        forgotten=sorted(old.known_fields - new.known_fields),
        before=before,
        after=after,
        refounded=sorted({name for each in (*before_that, old) for name in _refounded(each, new)}),
    )


def _refounded(old: Catalogue, new: Catalogue) -> set[str]:
    return {name for name, meter in new.by_name.items() if name in old.by_name and old.by_name[name].stripe_formula != meter.stripe_formula}


def _entries(catalogue: Catalogue) -> _Entries:
    found: dict[str, list[Sequence[Any]]] = {}
    for name, *entry in orjson.loads(orjson.dumps(catalogue.definition)):
        if name in catalogue.by_name:
            found.setdefault(name, []).append(entry)
    return found


def _said(entries: Sequence[Sequence[Any]]) -> str:
    return " and ".join(orjson.dumps(entry).decode() for entry in entries)
