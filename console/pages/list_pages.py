"""What was set aside, what was refused or is held, and plans."""

from collections.abc import Sequence

from console.answering.store_lists import HeldShown, PlanShown, RefusalShown, SetAsideLine, SetAsideSum
from console.pages.elements import Child, Column, Html, element, table
from console.pages.page_frame import PageAbout, link, moment, page
from metering.records.adjustment import short


def set_aside_page(about: PageAbout, sums: Sequence[SetAsideSum], lines: Sequence[SetAsideLine], reason: str | None) -> Html:
    """Dead letters, by what is wrong with them, and the newest."""
    alike: list[list[Child]] = [
        [link(each.reason, "/set-aside", reason=each.reason), each.field, each.letters, each.events, moment(each.latest_ms), each.latest_detail]
        for each in sums
    ]
    columns = [
        Column("Reason"),
        Column("Field"),
        Column("Letters", number=True),
        Column("Events", number=True),
        Column("Latest"),
        Column("It says", wraps=True),
    ]
    newest: list[list[Child]] = [
        [each.place, moment(each.log_time_ms), each.reason, each.field, each.events, each.customer, each.source, each.detail] for each in lines
    ]
    details = [
        Column("Place"),
        Column("Logged"),
        Column("Reason"),
        Column("Field"),
        Column("Events", number=True),
        Column("Customer"),
        Column("Source"),
    ]
    return page(
        about,
        element(
            "p",
            "Events that were not counted, each with its reason. To list them all and to take them back: ",
            element("code", "taximeter deadletters"),
        ),
        element("h2", "By reason"),
        table("Letters that are kept here", columns, alike, empty="Nothing was set aside."),
        element("h2", f"The newest: {reason}" if reason else "The newest"),
        element("p", link("All reasons", "/set-aside")) if reason else None,
        table("At most 200", [*details, Column("It says", wraps=True)], newest, empty="None."),
    )


def refused_page(about: PageAbout, held: Sequence[HeldShown], refused: Sequence[RefusalShown]) -> Html:
    """What Stripe has not, or may not have."""
    return page(
        about,
        element("h2", "Held"),
        element("p", "Usage that waits because Stripe refuses its meter, or does not know its customer."),
        held_table(held),
        element("h2", "Refused by Stripe, or in doubt"),
        element("p", "What is left to do, and how to send again: ", element("code", "taximeter rejected list")),
        refusal_table(refused),
    )


def plans_page(about: PageAbout, plans: Sequence[PlanShown]) -> Html:
    """Plans of adjustments, and how far they are."""
    rows: list[list[Child]] = [
        [
            element("code", short(each.plan)),
            each.kind,
            "abandoned" if each.abandoned else "done" if each.written >= each.parts else "under way",
            element("meter", f"{each.written} of {each.parts}", value=each.written, max=max(1, each.parts)),
            f"{each.written:,} of {each.parts:,}",
            each.units,
            each.by,
            moment(each.at_ms),
            each.reason,
        ]
        for each in plans
    ]
    columns = [Column("Plan"), Column("Kind"), Column("State"), Column("Progress"), Column("Parts"), Column("Units", number=True), Column("By")]
    return page(
        about,
        element(
            "p",
            "What changed after it was counted. Parts of partitions that have not begun are not known here: ",
            element("code", "taximeter replay list"),
        ),
        table("Plans, the newest first", [*columns, Column("Begun"), Column("Reason", wraps=True)], rows, empty="No plan was applied."),
    )


def held_table(held: Sequence[HeldShown]) -> Html:
    """By customer and meter."""
    rows: list[list[Child]] = [[each.customer, each.meter, each.units, moment(each.oldest_ms)] for each in held]
    columns = [Column("Customer"), Column("Meter"), Column("Units", number=True), Column("Oldest usage")]
    return table("What is held", columns, rows, empty="Nothing is held.")


def refusal_table(refused: Sequence[RefusalShown]) -> Html:
    """Meter event by meter event."""
    rows: list[list[Child]] = [
        [
            moment(each.at_ms),
            each.outcome,
            link(each.customer, "/customer", id=each.customer),
            each.meter,
            each.value,
            moment(each.time_ms),
            each.detail,
        ]
        for each in refused
    ]
    columns = [Column("Answered"), Column("Outcome"), Column("Customer"), Column("Meter"), Column("Units", number=True), Column("Of")]
    return table("The newest, at most 200", [*columns, Column("Stripe says", wraps=True)], rows, empty="None.")
