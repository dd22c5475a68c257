"""The doctor's page: for people, at 80 columns, and as JSON. Pure."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from audit.positions import carried_usage, latest_values_by_meter, units_by_meter, unlinked_usage
from metering.folds.catalogue_timeline import CatalogueTimeline
from taximeter.doctor.diagnosis import Cause, Urgency, diagnose, meets_deadline, needs_a_person, runbook_url
from taximeter.doctor.doctor_facts import Facts

DOCTOR_SCHEMA: Final = "taximeter.doctor/1"
METERS_SHOWN: Final = 6
_LABEL: Final = 14
_HEADINGS: Final[Mapping[Urgency, str]] = {Urgency.NOW: "NOW", Urgency.SOON: "SOON", Urgency.NOTE: "note"}


def page(facts: Facts, *, width: int, runbooks: str) -> list[str]:
    """Lines of at most `width` columns, except where a command is longer: commands can be copied whole."""
    causes = diagnose(facts)
    lines = [f"taximeter doctor {facts.version}, {moment(facts.now_ms)}", "", verdict(causes), ""]
    for cause in causes:
        lines += [*_cause(cause, width, runbooks), ""]
    for label, said in _summary(facts):
        lines += textwrap.wrap(said, width, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL, break_on_hyphens=False)
    return lines


def document(facts: Facts, *, runbooks: str) -> dict[str, Any]:
    """For `--json`: the same facts and causes."""
    causes, boundary = diagnose(facts), facts.stripe.boundary
    return {
        "schema": DOCTOR_SCHEMA,
        "at_ms": facts.now_ms,
        "version": facts.version,
        "needs_a_person": needs_a_person(causes),
        "causes": [cause.as_json(runbooks) for cause in causes],
        "kafka": {"answers": not facts.kafka_problem, "problem": facts.kafka_problem, "brokers": facts.brokers},
        "services": {
            service: {
                "state": group.state,
                "processes": [{"instance": each.instance, "host": each.host, "partitions": list(each.partitions)} for each in group.members],
                "stopped": {str(partition): reason for partition, reason in sorted(group.stopped.items())},
                "versions": sorted(group.versions),
            }
            for service, group in sorted(facts.groups.items())
        },
        "gateways": [{"address": each.address, "answers": each.answers, "problem": each.problem} for each in facts.gateways],
        "waiting": None if facts.kafka_problem else _waiting_document(facts),
        "refused": facts.refused,
        "unnamed_refusals": facts.unnamed,
        "set_aside": facts.set_aside,
        "catch_up_seconds": facts.catch_up_seconds,
        "next_billing_boundary": None if boundary is None else boundary.as_json(),
        "will_be_met": meets_deadline(facts),
        "stripe": {
            "configured": facts.stripe.configured,
            "problem": facts.stripe.problem,
            "key_refused": facts.stripe.refused,
            "webhooks": facts.stripe.webhooks,
            "checks": [{"name": check.name, "state": check.state, "seen": check.seen} for check in facts.stripe.checks],
        },
        "meter_versions": None if facts.versions is None else len(facts.versions),
        "unasked": list(facts.unasked),
    }


def _waiting_document(facts: Facts) -> dict[str, Any]:
    return {
        "uncounted_records": facts.uncounted,
        "meter_events": facts.waiting_events,
        "since_ms": facts.waits_since_ms,
        "units": units_by_meter(facts.positions),
        "latest_values": latest_values_by_meter(facts.positions),
        "money": facts.stripe.money.as_json(facts.customer_units),
        "held_units": {meter: usage.units for meter, usage in carried_usage(facts.positions).items()},
        "unlinked_units": {meter: usage.units for meter, usage in unlinked_usage(facts.positions).items()},
    }


def verdict(causes: Sequence[Cause]) -> str:
    """One line: whether a person is needed, and how urgently."""
    now, soon = (sum(cause.urgency is urgency for cause in causes) for urgency in (Urgency.NOW, Urgency.SOON))
    if now:
        return f"NOT WELL: {_things(now)} a person now" + (f", and {soon} within a day" if soon else "")
    return f"{_things(soon).capitalize()} a person within a day" if soon else "All is well: nothing needs a person"


def moment(time_ms: int) -> str:
    """A time in UTC, to the second."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """How long, in the two largest units."""
    rest, parts = round(seconds), []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _things(count: int) -> str:
    return "1 thing needs" if count == 1 else f"{count} things need"


def _cause(cause: Cause, width: int, runbooks: str) -> Iterator[str]:
    yield from textwrap.wrap(cause.what, width, initial_indent=f"{_HEADINGS[cause.urgency]:<6}", subsequent_indent=" " * 6, break_on_hyphens=False)
    for command in cause.commands:
        yield f"      type     {command}"
    if cause.runbook:
        yield f"      runbook  {runbook_url(cause.runbook, runbooks)}"


def _summary(facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.kafka_problem:
        yield "Kafka", "does not answer; what waits is not known"
    else:
        topics = "topics as they must be" if not facts.topic_problems else f"{len(facts.topic_problems)} problems of topics"
        yield "Kafka", f"{facts.brokers:,} broker{'s' if facts.brokers != 1 else ''}, {facts.partitions:,} partitions, {topics}"
        yield from _services(facts)
        yield from _waiting(facts)
        yield from _answers(facts)
    yield "gateways", _asked_gateways(facts)
    yield from _deadline(facts)
    yield "Stripe", _stripe(facts)
    if facts.versions is not None:
        yield "meters", _meters(facts)


def _asked_gateways(facts: Facts) -> str:
    if not facts.gateways:
        return "not asked: --gateway http://HOST:PORT asks one at its admin port"
    return f"{sum(not each.problem for each in facts.gateways):,} of {len(facts.gateways):,} take events"


def _services(facts: Facts) -> Iterator[tuple[str, str]]:
    for service, group in sorted(facts.groups.items()):
        versions = f", version {', '.join(sorted(group.versions))}" if group.versions else ""
        processes = f"{len(group.members):,} process{'es' if len(group.members) != 1 else ''}"
        stopped = f", {len(group.stopped):,} stopped" if group.stopped else ""
        yield service, f"{processes}, {len(group.owned):,} of {facts.partitions:,} partitions owned{stopped}{versions}"


def _waiting(facts: Facts) -> Iterator[tuple[str, str]]:
    unread = sum(bool(each.unread) for each in facts.positions)
    yield "to count", f"{facts.uncounted:,} records" + (f", without {unread:,} partitions that do not answer" if unread else "")
    units = units_by_meter(facts.positions)
    values = latest_values_by_meter(facts.positions)
    if not units and not values:
        yield "to report", "nothing"
        return
    since = facts.waits_since_ms
    age = "" if since is None else f", the oldest counted {span((facts.now_ms - since) / 1000)} ago"
    money = "; ".join(facts.stripe.money.lines(facts.customer_units))
    yield "to report", f"{sum(units.values()):,} units{age}: {money}" if units else f"latest values{age}"
    for meter, count in sorted(units.items(), key=lambda entry: -entry[1])[:METERS_SHOWN]:
        yield "", f"{count:,} units of {meter}"
    if len(units) > METERS_SHOWN:
        yield "", f"and of {len(units) - METERS_SHOWN:,} more meters: --json"
    for meter, count in sorted(values.items())[:METERS_SHOWN]:
        yield "", f"latest values of {meter}, of {count:,} customers"
    for meter, usage in sorted(carried_usage(facts.positions).items()):
        yield "held", f"{usage.amount} of {meter} since {moment(usage.oldest_ms)}"
    for meter, usage in sorted(unlinked_usage(facts.positions).items()):
        yield "unlinked", f"{usage.amount} of {meter} since {moment(usage.oldest_ms)}"
    seconds = facts.catch_up_seconds
    yield "caught up", "nobody can say now" if seconds is None else f"in about {span(seconds)}"


def _answers(facts: Facts) -> Iterator[tuple[str, str]]:
    for label, found in (("refused", facts.refused), ("set aside", facts.set_aside)):
        if found is not None:
            yield label, "nothing open" if not found else ", ".join(f"{count:,} {name}" for name, count in sorted(found.items()))


def _deadline(facts: Facts) -> Iterator[tuple[str, str]]:
    boundary, met = facts.stripe.boundary, meets_deadline(facts)
    if boundary is None:
        return
    said = {True: "; what waits will be there", False: "; WHAT WAITS WILL BE TOO LATE", None: ""}[met]
    ended = boundary.ended_text(facts.now_ms // 1000)
    if ended:
        yield "invoices", ended + said
    yield "" if ended else "invoices", boundary.as_text(facts.now_ms // 1000) + ("" if ended else said)


def _stripe(facts: Facts) -> str:
    stripe = facts.stripe
    if not stripe.configured:
        return "no key here (STRIPE_API_KEY): not asked"
    if stripe.problem:
        return "refuses the key" if stripe.refused else "does not answer"
    wrong = [check.name for check in stripe.checks if check.state != "ok"]
    catalogue = f"other than in the settings file: {', '.join(wrong)}" if wrong else "has the catalogue of the settings file"
    webhooks = "webhooks are taken" if stripe.webhooks else "no webhooks here: error reports are asked for"
    return f"takes the key, {catalogue}, {webhooks}"


def _meters(facts: Facts) -> str:
    versions = facts.versions or ()
    if not versions:
        return "nothing is published yet; the first start of an aggregator publishes its settings file"
    in_force = CatalogueTimeline(tuple(versions)).in_force(facts.now_ms)
    coming = [f", version {each.number} from {moment(each.from_ms)}" for each in versions if each.from_ms > facts.now_ms]
    return f"version {in_force.number} with {len(in_force.catalogue.meters):,} meters" + "".join(coming)
