"""The pages by their paths: which questions each asks, and what it makes of the answers."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

from audit.tracing.usage_columns import UsageQuestion
from console.answering.customer_answers import answer_customer
from console.answering.events_behind import EventLookup, TooManyAsk
from console.answering.store_lists import (
    folded_to,
    held_sums,
    held_units,
    kept_from_day,
    outcomes_of_day,
    plans_begun,
    refusals,
    set_aside_lines,
    set_aside_sums,
)
from console.answering.usage_answer import answer_usage
from console.answering.usage_question import BadQuestion, UsageAsked, day_text, usage_asked
from console.following.pipeline_view import PipelineView
from console.following.price_following import PriceFollowing
from console.pages.bill_figures import money
from console.pages.customer_pages import customer_page, customers_page
from console.pages.elements import Html
from console.pages.event_page import event_page
from console.pages.list_pages import plans_page, refused_page, set_aside_page
from console.pages.page_frame import PageAbout
from console.pages.pipeline_page import PipelineSeen, pipeline_page
from console.store.store_reading import StoreReading
from metering.kafka.partition_log import LogUnavailable
from metering.records.fail_closed import FailClosed

CUSTOMER_PATH: Final = "/customer"
_LISTED: Final = "200"
_NAVIGATION: Final = frozenset({"live", "seen"})

Page = Callable[[PageAbout, Mapping[str, str]], Awaitable[Html]]


class PageAnswers:
    """Makes pages. What it reads of stays its owner's."""

    def __init__(self, reading: StoreReading, view: PipelineView, events: EventLookup, prices: PriceFollowing, clock: Clock) -> None:
        self._reading = reading
        self._view = view
        self._events = events
        self._prices = prices
        self._clock = clock
        self.by_path: Mapping[str, tuple[str, Page]] = {
            "/": ("Pipeline", self._pipeline),
            "/customers": ("Customers", self._customers),
            CUSTOMER_PATH: ("Customer", self._customer),
            f"{CUSTOMER_PATH}/events": ("Events", self._behind),
            "/set-aside": ("Set aside", self._set_aside),
            "/refused": ("Refused and held", self._refused),
            "/plans": ("Plans", self._plans),
        }

    def unread(self) -> str | None:
        """What is missing of the log since the start, in words; None if nothing is."""
        return self._view.unread()

    async def answer(self, path: str, query: Mapping[str, str], revision: int) -> Html:
        """The page at a path of `by_path`. Raises BadQuestion, AnswerTooLong or sqlite3.Error."""
        title, made = self.by_path[path]
        about = PageAbout(title, path, dict(query), revision, query.get("live") != "off", self.unread())
        return await made(about, {name: value for name, value in query.items() if name not in _NAVIGATION})

    async def _pipeline(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query)
        today = self._clock.now_ms() // DAY_MS
        places, outcomes, held, first = await self._reading.ask(
            lambda store: (folded_to(store), outcomes_of_day(store, today), held_units(store), kept_from_day(store))
        )
        return pipeline_page(about, PipelineSeen(self._view.partitions, places, outcomes, held, day_text(first)))

    async def _customers(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query, "from", "to", "begins", "after")
        beginning = query.get("begins", "")
        asked = self._asked(query, group_by="customer,meter", limit=_LISTED, **({"after": query["after"]} if "after" in query else {}))
        answer = await self._reading.ask(lambda store: answer_usage(store, asked, beginning))
        return customers_page(about, asked, answer.rows, answer.next, beginning)

    async def _customer(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query, "from", "to", "id", "by")
        customer, by = _needed(query, "id"), query.get("by", "day")
        if by not in {"hour", "day"}:
            raise BadQuestion("by", "is hour or day")
        asked = self._asked(query, customer=customer, group_by=by)
        answer = await self._reading.ask(lambda store: answer_customer(store, asked, customer))
        bill = money(self._prices.prices, self._prices.why_not, answer.billed, answer.by_meter)
        return customer_page(about._replace(title=customer), asked, answer, customer, bill)

    async def _behind(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query, "from", "to", "id", "meter")
        customer, meter = _needed(query, "id"), _needed(query, "meter")
        asked = self._asked(query)
        try:
            found = await self._events.find(UsageQuestion(customer, meter, HOUR_MS * asked.from_hour, HOUR_MS * asked.to_hour))
        except (TooManyAsk, LogUnavailable, FailClosed) as error:
            raise BadQuestion("meter", str(error)) from error
        return event_page(about._replace(title=f"{customer}: {meter}", live=False), asked, customer, meter, found)

    async def _set_aside(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query, "reason")
        reason = query.get("reason")
        sums, lines = await self._reading.ask(lambda store: (set_aside_sums(store), set_aside_lines(store, reason)))
        return set_aside_page(about, sums, lines, reason)

    async def _refused(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query)
        held, refused = await self._reading.ask(lambda store: (held_sums(store, None), refusals(store, None)))
        return refused_page(about, held, refused)

    async def _plans(self, about: PageAbout, query: Mapping[str, str]) -> Html:
        _only(query)
        return plans_page(about, await self._reading.ask(plans_begun))

    def _asked(self, query: Mapping[str, str], **more: str) -> UsageAsked:
        ranged = {name: query[name] for name in ("from", "to") if query.get(name)}
        return usage_asked({**ranged, **more}, self._clock.now_ms())


def _only(query: Mapping[str, str], *names: str) -> None:
    for name in query:
        if name not in names:
            raise BadQuestion(name[:40], "this page has no such parameter")


def _needed(query: Mapping[str, str], name: str) -> str:
    if not query.get(name):
        raise BadQuestion(name, "is missing")
    return query[name]
