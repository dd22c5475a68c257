"""Customers, and one customer: the answer to what was used and why the bill is this number."""

from collections.abc import Mapping, Sequence

from console.answering.customer_answers import CustomerAnswer
from console.answering.usage_answer import SummedRow
from console.answering.usage_question import UsageAsked, day_text, hour_text
from console.folding.usage_changes import UsageAmounts
from console.pages.elements import Child, Column, Html, element, joined, table
from console.pages.list_pages import held_table, refusal_table
from console.pages.page_frame import PageAbout, link, page

_AMOUNTS = [
    Column("Units", number=True),
    Column("Events", number=True),
    Column("Reported", number=True),
    Column("Waiting", number=True),
    Column("Sending", number=True),
    Column("In doubt", number=True),
    Column("Refused", number=True),
    Column("By plans", number=True),
]


def customers_page(about: PageAbout, asked: UsageAsked, rows: Sequence[SummedRow], more: str | None, beginning: str) -> Html:
    """Groups of the rows are the customer and the meter."""
    days = range_query(asked)
    shown = [[link(str(row.groups[0]), "/customer", id=row.groups[0], **days), row.groups[1], *_amounts(row.amounts)] for row in rows]
    made = table(
        f"Usage {range_text(asked)}",
        [Column("Customer"), Column("Meter"), *_AMOUNTS],
        shown,
        empty="Nothing was used in this range by customers whose ids begin so.",
    )
    onward = element("p", link("Next customers", "/customers", begins=beginning or None, after=more, **days)) if more else None
    return page(about, made, onward, above=joined((range_form("/customers", asked, _search(beginning)),)))


def customer_page(about: PageAbout, asked: UsageAsked, answer: CustomerAnswer, customer: str, money: Child) -> Html:
    """All that is known of one customer."""
    days = range_query(asked)
    by_meter = [
        [
            link(str(row.groups[0]), "/customer/events", id=customer, meter=row.groups[0], **days),
            *(value if value is not None else "-" for value in row.groups[1:]),
            *_amounts(row.amounts),
        ]
        for row in answer.by_meter
    ]
    by_time = [
        [str(row.groups[0]).removesuffix(":00Z").replace("T", " "), str(row.groups[1]), *_amounts(row.amounts)] for row in reversed(answer.by_time)
    ]
    dimensions = [Column(name) for name in answer.dimensions]
    other = (
        link("By the day", "/customer", id=customer, **days) if answer.by_hour else link("By the hour", "/customer", id=customer, by="hour", **days)
    )
    return page(
        about,
        money,
        element("h2", "By meter"),
        table(f"Usage {range_text(asked)}", [Column("Meter"), *dimensions, *_AMOUNTS], by_meter, empty="Nothing was used in this range."),
        element("h2", "By time"),
        element("p", other),
        table("The newest first", [Column("Hour" if answer.by_hour else "Day"), Column("Meter"), *_AMOUNTS], by_time, empty="Nothing."),
        element("h2", "Held"),
        held_table(answer.held),
        element("h2", "Refused by Stripe, or in doubt"),
        refusal_table(answer.refused),
        above=range_form("/customer", asked, element("input", type="hidden", name="id", value=customer)),
    )


def range_query(asked: UsageAsked) -> Mapping[str, str]:
    """The range of a question as parameters; `from_`, because of Python."""
    return {"from_": _time_text(asked.from_hour), "to": _time_text(asked.to_hour)}


def range_text(asked: UsageAsked) -> str:
    """The range for a person."""
    return f"from {_time_text(asked.from_hour)} to before {_time_text(asked.to_hour)}"


def range_form(path: str, asked: UsageAsked, *more: Child) -> Html:
    """A form for another range."""
    return element(
        "form",
        *more,
        element("label", "From", element("input", name="from", value=_time_text(asked.from_hour), size=17)),
        element("label", "To before", element("input", name="to", value=_time_text(asked.to_hour), size=17)),
        element("button", "Show", type="submit"),
        action=path,
        method="get",
    )


def _search(beginning: str) -> Html:
    return element("label", "Customer begins with", element("input", name="begins", value=beginning, type="search", autocomplete="off"))


def _time_text(hour: int) -> str:
    return hour_text(hour).removesuffix(":00Z") + "Z" if hour % 24 else day_text(hour // 24)


def _amounts(amounts: UsageAmounts) -> list[Child]:
    waiting = amounts.counted - amounts.planned
    return [amounts.counted, amounts.events, amounts.told, waiting, amounts.open, amounts.doubt, amounts.refused, amounts.adjusted]
