"""Asks every source at once, each for a bounded time, so that a dead one never hides the others."""

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp
import stripe
from aiokafka.errors import KafkaError
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import DAY_MS

from aggregator.dead_letters.letter_book import SetAsideState
from aggregator.dead_letters.redriving import DeadLetterLog
from audit.next_boundary import next_boundary_if_configured
from audit.positions import Positions, uncounted_partitions
from audit.refusal_answers.answer_reading import answered_reports
from audit.refused_usage import MendState, RefusalReader
from audit.stops import groups_seen
from billing.calls import NotPossible
from billing.catalogue.account_reading import read_account, read_price_list
from billing.catalogue.pricing import Wanted, parse_wanted
from billing.checkup.checks import check_catalogue
from billing.checkup.examination import ask_to_report
from metering.configuration.secrets import Redactor
from metering.configuration.settings import SettingsError
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.kafka.provision import missing_topics, topic_problems
from metering.process.service import installed_version
from metering.process.service_command import load_configuration
from metering.records.fail_closed import FailClosed
from metering.stripe.client import ReplyTooLarge, StripeHttp, make_client
from metering.stripe.settings import StripeSettings, stripe_is_configured
from reporter.settings import ReporterSettings
from reporter.webhooks.settings import WebhookSettings
from taximeter.account_prices import PlanMoney
from taximeter.catalogue_in_force import published_versions
from taximeter.connection import configuration_of, group_ids, kafka_settings
from taximeter.doctor.doctor_facts import Facts, StripeFacts
from taximeter.doctor.gateways_asked import ask_gateways
from taximeter.wanted_at_stripe import published_wanted

KAFKA_SECONDS_MAX: Final = 3.0
STRIPE_SECONDS_MAX: Final = 6.0
LOG_SECONDS_MAX: Final = 20.0  # of a Kafka that answers: a log with much of a day in it takes its time
REFUSAL_DAYS: Final = 35
LOG_READERS: Final = 2
T = TypeVar("T")


@dataclass(slots=True)
class _Asked:
    """Runs sources; what one does not say is in `unasked`."""

    unasked: list[str] = field(default_factory=list)

    async def ask(self, what: str, source: Awaitable[T], otherwise: T) -> T:
        """What the source says within its time, or `otherwise`."""
        try:
            async with asyncio.timeout(LOG_SECONDS_MAX):
                return await source
        except TimeoutError:
            self.unasked.append(f"{what}: no answer within {LOG_SECONDS_MAX:g} s")
        except (LogUnavailable, FailClosed, KafkaError) as error:
            self.unasked.append(f"{what}: {error}")
        return otherwise


async def gather_facts(arguments: argparse.Namespace) -> Facts:
    """From Kafka, Stripe and gateways, side by side: in ten seconds at most while one of them is away. Raises NotConfigured."""
    kafka, groups = kafka_settings(arguments), group_ids(arguments)
    report_seconds = configuration_of(arguments, {"reporter": ReporterSettings}).of(ReporterSettings).report_seconds
    asked = _Asked()
    log, stripe_facts, gateways = await asyncio.gather(
        _log(kafka, groups, arguments.hours, asked), _stripe(arguments, kafka), ask_gateways(arguments.gateway)
    )
    return Facts(
        now_ms=SystemClock().now_ms(),
        version=installed_version(),
        partitions=kafka.partitions,
        hours=arguments.hours,
        report_seconds=report_seconds,
        stripe=stripe_facts,
        gateways=gateways,
        **log,
        unasked=tuple(asked.unasked),
    )


async def _log(kafka: KafkaSettings, groups: Mapping[str, str], hours: float, asked: _Asked) -> dict[str, Any]:
    brokers, problem = await _brokers(kafka)
    if problem:
        return {"kafka_problem": problem}
    missing = await asked.ask("which topics there are", missing_topics(kafka), [])
    if len(missing) == len(list(kafka.topics)):  # nothing ever ran here, or this is another cluster
        return {"brokers": brokers, "topic_problems": missing, "set_aside": {}, "refused": {}, "versions": ()}
    positions = await asked.ask("where the partitions stand", _positions(kafka, hours), ([], 0))
    # After them, not beside: on a busy machine too many readers at once make sound partitions look silent.
    seen, topics, letters, refused, versions = await asyncio.gather(
        asked.ask("who owns which partitions", groups_seen(kafka, groups), {}),
        asked.ask("the topics' settings", _topics(kafka), []),
        asked.ask("what was set aside", _set_aside(kafka), None),
        asked.ask("what Stripe refused", _refused(kafka), None),
        asked.ask("the versions of the meters", published_versions(kafka), None),
    )
    found, unnamed = positions
    return {
        "brokers": brokers,
        "positions": found,
        "unnamed": unnamed,
        "groups": seen,
        "topic_problems": topics,
        "set_aside": letters,
        "refused": refused,
        "versions": versions,
    }


async def _brokers(kafka: KafkaSettings) -> tuple[int, str]:
    """How many brokers the cluster has, or why it does not answer."""
    admin = make_admin(kafka, client_id="doctor")
    try:
        async with asyncio.timeout(KAFKA_SECONDS_MAX):
            await admin.start()
            return len((await admin.describe_cluster())["brokers"]), ""
    except TimeoutError:
        return 0, f"no answer from {', '.join(kafka.bootstrap_servers)} within {KAFKA_SECONDS_MAX:g} s"
    except KafkaError as error:
        return 0, str(error) or type(error).__name__
    finally:
        await admin.close()


async def _positions(kafka: KafkaSettings, hours: float) -> tuple[Any, int]:
    """Positions, and how many refusals Stripe did not name and nothing answers."""
    positions = Positions(kafka, SystemClock())
    try:
        found = await positions.read(hours=hours, seconds_max=LOG_SECONDS_MAX - 5)
        reports = await answered_reports(kafka, [report for each in found for report in each.unnamed])
        return found, sum(each.left for each in reports)
    finally:
        await positions.close()


async def _topics(kafka: KafkaSettings) -> list[str]:
    problems, beyond = await asyncio.gather(topic_problems(kafka, kafka.topics, clock=SystemClock()), uncounted_partitions(kafka))
    name = kafka.topics.events.name
    return problems + [f"partition {partition} of {name} holds {records:,} records that nobody counts" for partition, records in beyond.items()]


async def _set_aside(kafka: KafkaSettings) -> dict[str, int] | None:
    """Open events by reason."""
    found = Counter[str]()

    async def count(partitions: Iterator[int]) -> None:
        reader = LogReader(kafka, "doctor-letters")
        try:
            log = DeadLetterLog(reader, kafka.topics, partitions=kafka.partitions, clock=SystemClock())
            for partition in partitions:
                start, end = await reader.bounds(kafka.topics.deadletters.name, partition)
                if start < end:
                    book = await log.read(partition)
                    found.update(at.letter.reason.value for _, at, state in book.places() if state in {SetAsideState.OPEN, SetAsideState.DOUBTFUL})
        finally:
            await reader.close()

    await _shared(kafka, count)
    return dict(found)


async def _refused(kafka: KafkaSettings) -> dict[str, int] | None:
    """Meter events that nobody answered, by code."""
    found, since_ms = Counter[str](), SystemClock().now_ms() - REFUSAL_DAYS * DAY_MS

    async def count(partitions: Iterator[int]) -> None:
        reader = RefusalReader(kafka)
        try:
            for partition in partitions:
                refusals = await reader.read(partition, since_ms)
                found.update(each.code for each in refusals.events if each.state in {MendState.OPEN, MendState.UNDECIDED})
        finally:
            await reader.close()

    await _shared(kafka, count)
    return dict(found)


async def _shared(kafka: KafkaSettings, count: Callable[[Iterator[int]], Awaitable[None]]) -> None:
    """Some readers share the partitions: each waits for the broker more than it works."""
    partitions = iter(range(kafka.partitions))
    await asyncio.gather(*(count(partitions) for _ in range(LOG_READERS)))


async def _stripe(arguments: argparse.Namespace, kafka: KafkaSettings) -> StripeFacts:
    """Whether Stripe answers, takes the key and has the catalogue; prices, and when the next billing period ends."""
    loaded = load_configuration({}, environ=os.environ, file=arguments.config)
    if not stripe_is_configured(loaded.file, os.environ):
        return StripeFacts()
    try:
        settings = load_configuration({"stripe": StripeSettings}, environ=os.environ, file=arguments.config).of(StripeSettings)
    except SettingsError as error:
        return StripeFacts(configured=True, problem="; ".join(error.problems), refused=True)
    try:
        webhooks = load_configuration({"webhooks": WebhookSettings}, environ=os.environ, file=arguments.config).of(WebhookSettings).is_on
    except SettingsError:
        webhooks = False  # a hook that is not installed here, for instance: the reporter says it when it starts
    (checks, money, problem, refused), boundary = await asyncio.gather(
        _account(settings, await _wanted(loaded.file, kafka)), next_boundary_if_configured(arguments, SystemClock())
    )
    return StripeFacts(
        configured=True,
        problem=problem,
        refused=refused,
        checks=checks,
        boundary=boundary,
        money=money,
        events_limit=settings.events_limit,
        webhooks=webhooks,
    )


async def _wanted(file: Mapping[str, Any], kafka: KafkaSettings) -> Wanted | None:
    """What is to be at Stripe; None if the settings file has problems, which its readers say. By the file alone if Kafka does not answer."""
    wanted, _ = parse_wanted(file)
    if wanted is None:
        return None
    try:
        async with asyncio.timeout(KAFKA_SECONDS_MAX):
            return published_wanted(wanted, await published_versions(kafka), SystemClock().now_ms()).wanted
    except (TimeoutError, LogUnavailable, FailClosed, KafkaError):
        return wanted


async def _account(settings: StripeSettings, wanted: Wanted | None) -> tuple[Any, PlanMoney, str, bool]:
    """Checks of the catalogue, the prices, why Stripe cannot be asked, and whether that is because of the key."""
    http = StripeHttp(connections=4, timeout_s=STRIPE_SECONDS_MAX)
    client = make_client(http, api_key=settings.api_key, api_base=settings.api_base)
    redact = Redactor([settings.api_key]).redact
    try:
        async with asyncio.timeout(STRIPE_SECONDS_MAX):
            reply = await ask_to_report(client, SystemClock())
            if reply.status in {401, 403}:
                return [], PlanMoney(None, "Stripe does not take the key"), redact(reply.message), True
            prices = await read_price_list(client)
            checks = [] if wanted is None else check_catalogue(wanted, await read_account(client, wanted))
        return checks, PlanMoney(prices), "", False
    except stripe.AuthenticationError as error:
        return [], PlanMoney(None, "Stripe does not take the key"), redact(error.user_message or str(error)), True
    except stripe.PermissionError as error:
        # The reporter may do its work with such a key: what is missing is only of no use to us.
        return [], PlanMoney(None, redact(f"the key may not read prices: {error.user_message or error}")), "", False
    except (stripe.StripeError, aiohttp.ClientError, TimeoutError, ReplyTooLarge, NotPossible) as error:
        silent = f"no answer within {STRIPE_SECONDS_MAX:g} s"
        why = silent if isinstance(error, TimeoutError) else redact(str(error)) or type(error).__name__
        return [], PlanMoney(None, "Stripe does not answer"), f"{settings.api_base}: {why}", False
    finally:
        await http.close_async()
