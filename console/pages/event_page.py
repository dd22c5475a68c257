"""The events behind a number."""

from console.answering.events_behind import EventsBehind
from console.answering.usage_question import UsageAsked
from console.pages.customer_pages import range_form, range_query, range_text
from console.pages.elements import Child, Column, Html, element, joined, table
from console.pages.page_frame import PageAbout, figure, link, moment, page
from metering.records.adjustment import short

_PLANS = [Column("Plan"), Column("Kind"), Column("Units", number=True), Column("By"), Column("Reason", wraps=True)]


def event_page(about: PageAbout, asked: UsageAsked, customer: str, meter: str, found: EventsBehind) -> Html:
    """What the tallies say, what plans changed, and the first events."""
    sums = found.sums
    figures = element(
        "dl",
        figure("Units counted", sums.rows),
        figure("By plans", sums.adjusted.total()),
        figure("That makes", sums.units),
        figure("Events counted", sums.events_by.total()),
    )
    plans: list[list[Child]] = [[element("code", short(plan.plan)), plan.kind, units, plan.by, plan.reason] for plan, units in sums.adjusted.items()]
    events: list[list[Child]] = [
        [each.place, moment(each.time_ms), each.outcome, each.units, element("code", each.usage), element("code", each.dimensions), each.event_id]
        for each in found.events
    ]
    columns = [Column("Offset"), Column("Time"), Column("Outcome"), Column("Units", number=True), Column("Usage"), Column("Dimensions"), Column("Id")]
    return page(
        about,
        element("p", link(customer, "/customer", id=customer, **range_query(asked))),
        figures,
        _verdict(found),
        element("h2", "Plans"),
        table(
            "Plans that changed it",
            [Column("Plan"), Column("Kind"), Column("Units", number=True), Column("By"), Column("Reason", wraps=True)],
            plans,
            empty="No plan changed it.",
        ),
        element("h2", "Events"),
        table(f"Of partition {found.partition} of usage.events, {range_text(asked)}", columns, events, empty="No events."),
        element("p", "All of them, as a file: ", element("code", f"taximeter explain {customer} {meter} --events FILE")),
        above=range_form("/customer/events", asked, _hidden("id", customer), _hidden("meter", meter)),
    )


def _verdict(found: EventsBehind) -> Html:
    sums = found.sums
    if found.problem:
        return element("p", found.problem, class_="notice")
    if not found.complete:
        return element("p", "These are the first events. With fewer hours all are read, and compared with the sum.", class_="quiet")
    if not sums.agrees:
        return element("p", f"The events make {sums.events:,} units: the tallies and the log disagree. See taximeter verify.", class_="notice")
    gone = f" {sums.gone:,} units are of records that are not kept any more." if sums.gone else ""
    return element("p", joined(["The log has these events, and they make this sum.", gone]), class_="good")


def _hidden(name: str, value: str) -> Html:
    return element("input", type="hidden", name=name, value=value)
