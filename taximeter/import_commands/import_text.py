"""What the plan of an import says, as text and as JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from aggregator.importing.import_survey import WAYS_OUT, ImportSurvey
from metering.plans.import_records import ImportedContent
from taximeter.account_prices import PlanMoney
from taximeter.stripe_commands.running import shown

LARGEST_SHOWN: Final = 10
LETTER_WORDS: Final = {
    "in_future": "is still to come",
    "past_horizon": "is older than 35 days",
    "unknown_usage_field": "has only usage that no meter takes",
    "below_zero": "has a part above its whole, such as more cached input than input",
}


class SurveyedContent(NamedTuple):
    """What was read, what would become of it, and the columns that nobody reads.

    `begun`: an import of it is in the log; `done`: all of its events are, so nothing would be counted.
    """

    content: ImportedContent
    survey: ImportSurvey
    not_read: Sequence[str]
    begun: bool
    done: bool


def units_by_meter(surveyed: Sequence[SurveyedContent]) -> Counter[str]:
    """Units that would be counted."""
    found: Counter[str] = Counter()
    for (_, meter), quantity in _units(surveyed):
        found[meter] += quantity
    return found


def import_lines(surveyed: Sequence[SurveyedContent], money: PlanMoney) -> Iterator[str]:
    """The plan for a person."""
    for each in surveyed:
        yield from _content_lines(each)
    customers: Counter[str] = Counter()
    for (customer, _), quantity in _units(surveyed):
        customers[customer] += quantity
    for meter, quantity in sorted(units_by_meter(surveyed).items()):
        yield f"{quantity:,} units of {meter}, for {_customers(surveyed, meter):,} customers"
    for customer, quantity in customers.most_common(LARGEST_SHOWN):
        yield f"  {quantity:,} units of {customer}"
    if len(customers) > LARGEST_SHOWN:
        yield f"  and {len(customers) - LARGEST_SHOWN:,} more customers; see --json"
    if customers:
        yield from money.lines(_entries(surveyed))


def import_json(surveyed: Sequence[SurveyedContent], money: PlanMoney) -> dict[str, Any]:
    """For `--json`; quantities as strings."""
    units: dict[str, dict[str, str]] = {}
    for (customer, meter), quantity in sorted(_units(surveyed)):
        mine = units.setdefault(customer, {})
        mine[meter] = str(int(mine.get(meter, "0")) + quantity)
    return {
        "contents": [_content_json(each) for each in surveyed],
        "units": {meter: str(quantity) for meter, quantity in sorted(units_by_meter(surveyed).items())},
        "customers": units,
        "money": money.as_json(_entries(surveyed)),
    }


def _content_lines(each: SurveyedContent) -> Iterator[str]:
    content, survey = each.content, each.survey
    where = content.name if content.kind == "file" else f"{content.name}, partition {content.partition}, offsets {content.start} to {content.end - 1}"
    yield f"{where}: {survey.entries:,} entries, {survey.valid:,} are events; emitter {content.emitter}"
    if each.done:
        yield "  all of it is in usage.events already: nothing would be counted"
        return
    if each.begun:
        yield "  it is being brought in: taximeter replay apply goes on"
    if survey.first_ms is not None and survey.last_ms is not None:
        yield f"  from {shown(survey.first_ms // 1000)} to {shown(survey.last_ms // 1000)}"
    if each.not_read:
        yield f"  columns that are not read: {', '.join(each.not_read)}"
    yield f"  {survey.counted:,} would be counted"
    if survey.known:
        yield f"  {survey.known:,} were counted already, or are there twice, by their ids"
    if survey.without_id:
        yield f"  {survey.without_id:,} have no id: one that was also sent otherwise counts twice"
    for reason, count in survey.letters.items():
        yield f"  {count:,} would be set aside, {reason}: {LETTER_WORDS[reason]}; {WAYS_OUT[reason]}"
    for name, quantity in survey.unknown_usage.most_common():
        yield f"  {quantity:,} units of {name}, which no meter sums, would be named and not billed"
    if survey.mistakes:
        yield f"  {survey.mistakes:,} are no events:"
        for (reason, field), count in survey.invalid.most_common():
            yield f"    {count:,} {reason}" + (f", {field}" if field else "")
        for found in survey.shown:
            yield f"    {found.place}: {f'{found.field}: ' if found.field else ''}{found.detail}; {found.way_out}"
        if survey.mistakes > len(survey.shown):
            yield "    all of them are in invalid.ndjson"


def _content_json(each: SurveyedContent) -> Mapping[str, Any]:
    content, survey = each.content, each.survey
    return {
        "kind": content.kind,
        "name": content.name,
        "partition": content.partition,
        "start": content.start,
        "end": content.end,
        "emitter": content.emitter,
        "begun": each.begun,
        "done": each.done,
        "entries": survey.entries,
        "events": survey.valid,
        "counted": 0 if each.done else survey.counted,
        "known": survey.known,
        "without_id": survey.without_id,
        "first_ms": survey.first_ms,
        "last_ms": survey.last_ms,
        "set_aside": {reason.value: count for reason, count in survey.letters.items()},
        "unknown_usage": {name: str(quantity) for name, quantity in survey.unknown_usage.items()},
        "invalid": [{"reason": reason.value, "field": field, "entries": count} for (reason, field), count in survey.invalid.most_common()],
        "first_invalid": [
            {"place": found.place, "reason": found.reason.value, "field": found.field, "detail": found.detail, "way_out": found.way_out}
            for found in survey.shown
        ],
        "columns_not_read": list(each.not_read),
    }


def _entries(surveyed: Sequence[SurveyedContent]) -> list[tuple[str, int]]:
    """As prices are asked: as if all were of one billing period."""
    return [(meter, quantity) for (_, meter), quantity in _units(surveyed)]


def _units(surveyed: Sequence[SurveyedContent]) -> Iterator[tuple[tuple[str, str], int]]:
    """What would be counted, by customer and meter."""
    for each in surveyed:
        if not each.done:
            yield from each.survey.units.items()


def _customers(surveyed: Sequence[SurveyedContent], meter: str) -> int:
    return len({customer for (customer, of), _ in _units(surveyed) if of == meter})
