"""When the next billing period ends, as Stripe says: for `taximeter status`, which must not wait long for it and never fails by it."""

import argparse
import asyncio
import os
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from taximeter_emitter.clock import Clock

from metering.configuration.settings import SettingsError
from metering.process.service_command import load_configuration
from metering.stripe.settings import StripeSettings, stripe_is_configured
from reporter.planning.billing_periods import read_subscription
from reporter.stripe.subscriptions import StripeSubscriptions, SubscriptionsPort, SubscriptionsUnavailable

SECONDS_MAX: Final = 5.0
PAGES_ASKED_MAX: Final = 10
DAY_S: Final = 86_400
# Looked at one after the other until there is a boundary in it: with 100,000 subscriptions the next hour is still a short list.
WINDOWS_S: Final = (3_600, DAY_S, 8 * DAY_S, 32 * DAY_S, 400 * DAY_S)


@dataclass(frozen=True, slots=True)
class NextBoundary:
    """`at_s`: Unix seconds, None where there is none or it is not known; then `problem` says why. `customers`: whose period ends then.

    `complete`: whether every subscription that might end sooner was read; else it is at `at_s` at the latest. `grace_s`: how long after it the
    invoices become final. `ended_s`: when the oldest period ended whose invoice is not final yet, of `ended_customers`; None if there is none.
    """

    at_s: int | None
    customers: int
    complete: bool
    grace_s: int
    problem: str = ""
    ended_s: int | None = None
    ended_customers: int = 0

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "at": None if self.at_s is None else _iso(self.at_s),
            "customers": self.customers,
            "complete": self.complete,
            "invoices_final_at": None if self.at_s is None else _iso(self.at_s + self.grace_s),
            "problem": self.problem,
            "ended_at": None if self.ended_s is None else _iso(self.ended_s),
            "ended_customers": self.ended_customers,
            "ended_final_at": None if self.ended_s is None else _iso(self.ended_s + self.grace_s),
        }

    def ended_text(self, now_s: int) -> str:
        """One line about periods that have just ended; "" if none has."""
        if self.ended_s is None:
            return ""
        whose = f"{self.ended_customers:,} customer{'' if self.ended_customers == 1 else 's'}"
        left = _span(max(0, self.ended_s + self.grace_s - now_s))
        return f"the period of {whose} ended {_span(max(0, now_s - self.ended_s))} ago ({_iso(self.ended_s)}), the first invoice is final in {left}"

    def as_text(self, now_s: int) -> str:
        """One line for people."""
        if self.at_s is None:
            return f"next billing boundary unknown: {self.problem}"
        bound = ("in", "") if self.complete else ("at the latest in", "at least ")
        whose = f"{bound[1]}{self.customers:,} customer{'' if self.customers == 1 else 's'}"
        final = f"invoices are final {_span(self.grace_s)} later"
        return f"next billing boundary {bound[0]} {_span(max(0, self.at_s - now_s))} ({_iso(self.at_s)}, {whose}), {final}"


async def next_boundary_if_configured(arguments: argparse.Namespace, clock: Clock) -> NextBoundary | None:
    """None without a Stripe key. Waits for Stripe at most SECONDS_MAX; raises nothing for what is wrong with Stripe or its settings."""
    if not stripe_is_configured(load_configuration({}, environ=os.environ, file=arguments.config).file, os.environ):
        return None
    try:
        settings = load_configuration({"stripe": StripeSettings}, environ=os.environ, file=arguments.config).of(StripeSettings)
    except SettingsError as error:
        return NextBoundary(None, 0, False, 0, "; ".join(error.problems))
    port = StripeSubscriptions(api_key=settings.api_key, api_base=settings.api_base, timeout_s=min(SECONDS_MAX, settings.timeout_seconds))
    try:
        return await find_next_boundary(port, clock.now_ms() // 1000, round(settings.invoice_grace_seconds))
    finally:
        await port.close()


async def find_next_boundary(port: SubscriptionsPort, now_s: int, grace_s: int) -> NextBoundary:
    """Ask Stripe, for at most SECONDS_MAX and PAGES_ASKED_MAX pages. What goes wrong is the answer's `problem`."""
    try:
        async with asyncio.timeout(SECONDS_MAX):
            found = await _find(port, now_s, grace_s)
            ends = await _just_ended(port, now_s, grace_s)
            return replace(found, ended_s=min(ends), ended_customers=len(ends)) if ends else found
    except SubscriptionsUnavailable as error:
        return NextBoundary(None, 0, False, grace_s, str(error))
    except TimeoutError:
        return NextBoundary(None, 0, False, grace_s, f"Stripe did not answer within {SECONDS_MAX:g} s")


async def _just_ended(port: SubscriptionsPort, now_s: int, grace_s: int) -> list[int]:
    """When periods ended whose invoices take usage still, of a page of subscriptions: the current ones began then. One that is new ended nothing."""
    if not grace_s:
        return []
    page = await port.page(None, starts=(now_s - grace_s, now_s))
    ends = []
    for subscription in page.subscriptions:
        found = read_subscription(subscription)
        began = [] if found is None else [each for each in found.boundaries if found.span[0] < each <= now_s and each >= now_s - grace_s]
        ends += began[:1]
    return ends


async def _find(port: SubscriptionsPort, now_s: int, grace_s: int) -> NextBoundary:
    pages = 0
    for window_s in WINDOWS_S:
        ends: dict[str, int] = {}
        after: str | None = None
        while True:
            page = await port.page(after, ends=(now_s + 1, now_s + window_s))
            pages += 1
            after = page.after
            for subscription in page.subscriptions:
                found = read_subscription(subscription)
                end = (
                    min((boundary for boundary in found.boundaries if boundary > max(now_s, found.span[0])), default=None)
                    if found is not None
                    else None
                )
                if found is not None and end is not None:
                    ends[found.customer] = min(end, ends.get(found.customer, end))
            if after is None or pages >= PAGES_ASKED_MAX:
                break
        if ends:
            at, customers = min(Counter(ends.values()).items())
            return NextBoundary(at, customers, after is None, grace_s)
        if pages >= PAGES_ASKED_MAX:
            return NextBoundary(None, 0, False, grace_s, f"there are more than {PAGES_ASKED_MAX} pages of subscriptions without a metered price")
    return NextBoundary(None, 0, True, grace_s, "no subscription has a metered price and a period that ends")


def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).isoformat().replace("+00:00", "Z")


def _span(seconds: int) -> str:
    """The two largest units, as people say them."""
    days, rest = divmod(seconds, DAY_S)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts) - 1)
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0 s"
