"""The header of a plan: all that a reader needs to derive the plan's rows from the logs again. Pure.

Its canonical JSON text is in the first part that the plan has in each partition, and the digest of the text is the plan's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from metering.plans.current_period import IntoCurrent, into_current_from
from metering.plans.usage_selector import UsageSelector, selector_from
from metering.records.adjustment import AdjustmentKind, PlannedParts, plan_digest
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import CatalogueDefinition

PLAN_FORMAT: Final = "taximeter.plan/1"
PART_ROWS_MAX: Final = 5_000
"""Rows of a part: as much as one intent reports at once, and a reader decodes in 10 ms."""


@dataclass(frozen=True, slots=True)
class PlannedRange:
    """What a plan read of one partition. Events are meant in the records [start, end) of usage.events, both ends of accepted tallies; `base` is the
    end of usage.tallies when it was planned: what was adjusted before is known, and nothing behind it. `chain_id`: of the tallies.
    """

    start: int
    end: int
    base: int
    chain_id: str


@dataclass(frozen=True, slots=True)
class PlanRule:
    """What becomes of the usage that is selected.

    COUNT: `meter` counts it as `definition` says, a catalogue's, instead of as it did or did not when the tally was written. MOVE: it is usage of
    `to_customer`. REVERT: the accepted parts of plan `reverts` are taken back. RESOLVE: the rows were given, and `evidence` says on what they rest.
    `into`: usage of any kind of plan that is brought forward into the current billing period; None: each minute stays where it is.
    """

    kind: AdjustmentKind
    meter: str = ""
    definition: CatalogueDefinition | None = None
    to_customer: str = ""
    reverts: str = ""
    evidence: str = ""
    into: IntoCurrent | None = None


@dataclass(frozen=True, slots=True)
class MeterTotal:
    """Units and events of a meter, with their signs, and how many rows. The integers may be beyond 64 bits."""

    units: int
    events: int
    rows: int


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """A whole plan. `planned_ms`: when it was made (Unix ms). `ranges` and `parts` are by partition: what was read, and what is to be written.

    `window_ms`: how long the windows of the rows are.
    """

    rule: PlanRule
    selector: UsageSelector
    planned_ms: int
    ranges: Mapping[int, PlannedRange]
    window_ms: int
    parts: Mapping[int, PlannedParts] = field(default_factory=dict)
    totals: Mapping[str, MeterTotal] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The canonical JSON."""
        rule = {
            "kind": self.rule.kind.value,
            "meter": self.rule.meter,
            "definition": self.rule.definition,
            "to_customer": self.rule.to_customer,
            "reverts": self.rule.reverts,
            "evidence": self.rule.evidence,
            "into": self.rule.into and self.rule.into.as_document(),
        }
        document = {
            "format": PLAN_FORMAT,
            "rule": {name: value for name, value in rule.items() if value},
            "selector": self.selector.as_document(),
            "planned_ms": self.planned_ms,
            "ranges": {str(partition): (each.start, each.end, each.base, each.chain_id) for partition, each in self.ranges.items()},
            "window_ms": self.window_ms,
            "parts": {str(partition): tuple(each) for partition, each in self.parts.items()},
            "totals": {meter: (str(each.units), str(each.events), each.rows) for meter, each in self.totals.items()},
        }
        return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()

    @property
    def plan(self) -> str:
        """The plan's name."""
        return plan_digest(self.text)

    @property
    def rows(self) -> int:
        """How many rows it writes."""
        return sum(each.rows for each in self.totals.values())


def header_from(text: str) -> PlanHeader:
    """Read a header. Raises RecordCorrupt, also for a form that this version does not know."""
    try:
        document = orjson.loads(text)
        if document["format"] != PLAN_FORMAT:
            raise RecordCorrupt(f"a plan of form {document['format']!r}; this version reads {PLAN_FORMAT}")
        return PlanHeader(
            rule=_rule(document["rule"]),
            selector=selector_from(document["selector"]),
            planned_ms=document["planned_ms"],
            ranges={int(partition): PlannedRange(*each) for partition, each in document["ranges"].items()},
            window_ms=document["window_ms"],
            parts={int(partition): PlannedParts(*each) for partition, each in document["parts"].items()},
            totals={meter: MeterTotal(int(units), int(events), rows) for meter, (units, events, rows) in document["totals"].items()},
        )
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not the header of a plan: {error!r}") from error


def _rule(document: Mapping[str, Any]) -> PlanRule:
    definition: Sequence[Any] | None = document.get("definition")
    into = into_current_from(document["into"]) if "into" in document else None
    return PlanRule(**{**document, "kind": AdjustmentKind(document["kind"]), "definition": definition, "into": into})
