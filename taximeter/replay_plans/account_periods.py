"""The billing periods of the account, where a Stripe key is configured: what can still be billed."""

import argparse
import os
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.clock import Clock, SystemClock

from metering.configuration.settings import SettingsError
from metering.plans.current_period import IntoCurrent
from metering.process.service_command import load_configuration
from metering.stripe.settings import LIVE_CALLS_PER_SECOND, StripeSettings, stripe_is_configured
from reporter.planning.billing_periods import BillingPeriods, read_subscription
from reporter.stripe.subscriptions import StripeSubscriptions, SubscriptionsUnavailable
from taximeter.connection import kafka_settings
from taximeter.links_now import links_now
from taximeter.replay_plans.plan_directory import PlanUnusable
from taximeter.replay_plans.plan_summary import PeriodClock, ended_usage

PAGES_MAX: Final = 3_000
PAUSE_SECONDS: Final = 0.05
"""Between two pages: Stripe's limit for reading is shared with the reporters."""


@dataclass(frozen=True, slots=True)
class AccountPeriods:
    """What is known of the account. `problem` says why the periods are not known. `events_per_second`: what all reporters may send together."""

    clock: PeriodClock
    events_per_second: int
    problem: str = ""


async def account_periods(arguments: argparse.Namespace, clock: Clock) -> AccountPeriods:
    """Read all subscriptions; raises nothing for what is wrong with Stripe or its settings. Waits for Stripe, a page a call, and blocks on Kafka for
    the links of customers: raises LogUnavailable or FailClosed.
    """
    now_ms = clock.now_ms()
    if not stripe_is_configured(load_configuration({}, environ=os.environ, file=arguments.config).file, os.environ):
        return AccountPeriods(PeriodClock(now_ms, None, 0), LIVE_CALLS_PER_SECOND, "there is no Stripe key here to read billing periods with")
    try:
        settings = load_configuration({"stripe": StripeSettings}, environ=os.environ, file=arguments.config).of(StripeSettings)
    except SettingsError as error:
        return AccountPeriods(PeriodClock(now_ms, None, 0), LIVE_CALLS_PER_SECOND, "; ".join(error.problems))
    grace_s = round(settings.invoice_grace_seconds)
    periods = BillingPeriods(links=await links_now(kafka_settings(arguments)))
    port = StripeSubscriptions(api_key=settings.api_key, api_base=settings.api_base, timeout_s=settings.timeout_seconds)
    try:
        after: str | None = None
        for _ in range(PAGES_MAX):
            page = await port.page(after)
            for subscription in page.subscriptions:
                found = read_subscription(subscription)
                if found is not None:
                    periods.learn(found)
            after = page.after
            if after is None:
                return AccountPeriods(PeriodClock(now_ms, periods, grace_s), settings.events_limit)
            await clock.sleep(PAUSE_SECONDS)
        problem = "there are too many subscriptions to read"
    except SubscriptionsUnavailable as error:
        problem = f"billing periods could not be read: {error}"
    finally:
        await port.close()
    return AccountPeriods(PeriodClock(now_ms, None, grace_s), settings.events_limit, problem)


async def into_current(arguments: argparse.Namespace) -> IntoCurrent:
    """Which usage of the account is brought forward, as it is now. Raises PlanUnusable if the periods are not known. Waits as `account_periods`."""
    account = await account_periods(arguments, SystemClock())
    if account.clock.periods is None:
        raise PlanUnusable(f"nothing can be brought into the current period: {account.problem}")
    return ended_usage(account.clock, account.clock.periods)
