"""What is wrong, most urgent first, each once, with what to type. Pure.

One cause is one cause: what follows from Kafka's absence, or from Stripe's, is not told beside it.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from audit.positions import carried_usage, unlinked_usage
from audit.verification.stripe_evidence import StripeEvidence
from taximeter.doctor.doctor_facts import Facts

DELAYED_MS: Final = 15 * 60_000
NEAR_MS: Final = 3_600_000
PARTITIONS_NAMED: Final = 8
_OFFSET: Final = re.compile(r"offset (\d+)")
_COMMAND: Final = re.compile(r"taximeter repair (?:skip|accept-loss)(?: --?[\w-]+| \w+)+")


class Urgency(StrEnum):
    """NOW and SOON need a person; NOTE needs none."""

    NOW = "now"
    SOON = "soon"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Cause:
    """One cause. `commands` are what to type, in order; `runbook` is the name of its page, or ""."""

    urgency: Urgency
    what: str
    commands: tuple[str, ...] = ()
    runbook: str = ""

    def as_json(self, runbooks: str) -> dict[str, Any]:
        """For `--json`; `runbooks`: where the pages are."""
        return {"urgency": self.urgency.value, "what": self.what, "commands": list(self.commands), "runbook": runbook_url(self.runbook, runbooks)}


def runbook_url(name: str, runbooks: str) -> str:
    """Where the page is; "" without one."""
    return f"{runbooks.rstrip('/')}/{name}.md" if name else ""


def diagnose(facts: Facts) -> list[Cause]:
    """Everything that is wrong, most urgent first."""
    found = [*_kafka(facts), *_stripe(facts), *_gateways(facts)]
    if not facts.kafka_problem:
        found += [*_stops(facts), *_owners(facts), *_topics(facts), *_transactions(facts), *_refusals(facts), *_late(facts), *_set_aside(facts)]
        found += _versions(facts)
    found += [Cause(Urgency.SOON, f"not known: {why}") for why in facts.unasked]
    return sorted(found, key=lambda cause: list(Urgency).index(cause.urgency))


def needs_a_person(causes: list[Cause]) -> bool:
    """Whether one of them does."""
    return any(cause.urgency is not Urgency.NOTE for cause in causes)


def meets_deadline(facts: Facts) -> bool | None:
    """Whether what waits will be at Stripe before the next invoices become final; None if nobody can say."""
    seconds, deadline = facts.catch_up_seconds, facts.deadline_ms
    return None if seconds is None or deadline is None else facts.now_ms + seconds * 1000 < deadline


def _kafka(facts: Facts) -> Iterator[Cause]:
    if facts.kafka_problem:
        what = f"Kafka does not answer: {facts.kafka_problem}. Nothing is counted or reported; events wait at their senders"
        yield Cause(Urgency.NOW, what, runbook="TaximeterKafkaUnavailable")
    elif unread := [each.partition for each in facts.positions if each.unread]:
        why = next(each.unread for each in facts.positions if each.unread)
        # A busy machine is slow, too: silence about some partitions is asked about again before somebody is woken for it.
        what = f"the position of {_partitions(unread)} is not known: {why}; ask again, and if it lasts Kafka is not well"
        yield Cause(Urgency.SOON, what, ("taximeter topics check",), "TaximeterKafkaUnsteady")


def _stripe(facts: Facts) -> Iterator[Cause]:
    stripe = facts.stripe
    if stripe.refused:
        yield Cause(Urgency.NOW, f"Stripe refuses every call: {stripe.problem}. Usage waits", ("taximeter stripe doctor",), "TaximeterStripeHalted")
    elif stripe.problem:
        near = facts.deadline_ms is None or facts.deadline_ms - facts.now_ms < NEAR_MS
        urgency, page = (Urgency.NOW, "TaximeterStripeUnavailableNearInvoice") if near else (Urgency.SOON, "TaximeterStripeUnavailable")
        yield Cause(urgency, f"Stripe does not answer: {stripe.problem}. Usage waits, and nothing is lost", ("taximeter stripe doctor",), page)
    for check in stripe.checks:
        if check.state == "failed":
            yield Cause(Urgency.NOW, f"at Stripe, {check.name}: {check.seen}", ("taximeter stripe setup --dry-run",), "TaximeterMeterHeld")


def _gateways(facts: Facts) -> Iterator[Cause]:
    for gateway in facts.gateways:
        if not gateway.answers:
            what = f"the gateway at {gateway.address} does not answer: {gateway.problem}. What is sent to it is not taken"
            yield Cause(Urgency.NOW, what, (), "TaximeterServiceDown")
        elif gateway.problem and not facts.kafka_problem:
            yield Cause(Urgency.NOW, f"the gateway at {gateway.address} takes no events: {gateway.problem}", (), "TaximeterGatewayDisconnected")


def _stops(facts: Facts) -> Iterator[Cause]:
    causes: defaultdict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for service, group in facts.groups.items():
        for partition, reason in group.stopped.items():
            causes[service, reason.partition(":")[0]][partition] = reason
    for (service, kind), reasons in sorted(causes.items()):
        first = next(iter(sorted(reasons.items())))
        what = f"the {service} stopped {_partitions(reasons)}: {first[1]}"
        yield Cause(Urgency.NOW, what, _commands_for(service, kind, reasons), "TaximeterPartitionStopped")
    stopped = {partition for reasons in causes.values() for partition in reasons}
    for position in facts.positions:
        if position.problem and position.partition not in stopped:
            what = f"the log of partition {position.partition} contradicts itself: {position.problem}"
            yield Cause(Urgency.NOW, what, ("taximeter verify",), "TaximeterPartitionStopped")


def _commands_for(service: str, kind: str, reasons: Mapping[int, str]) -> tuple[str, ...]:
    """What shows more and then mends; each of these changes nothing before a reason is given."""
    said = tuple(match[0] for match in (_COMMAND.search(reasons[partition]) for partition in sorted(reasons)) if match)
    if said and all(any(character.isdigit() for character in command) for command in said):
        return said[:PARTITIONS_NAMED]
    if kind == "HistoryLost":
        return tuple(f"taximeter repair accept-loss {partition}" for partition in sorted(reasons)[:PARTITIONS_NAMED])
    if kind in {"Unforeseen", "RecordUnreadable", "RecordCorrupt"}:
        topic = "" if service == "aggregator" and kind != "RecordCorrupt" else " --topic tallies"
        places = [(partition, _OFFSET.search(reason)) for partition, reason in sorted(reasons.items())[:PARTITIONS_NAMED]]
        return tuple(f"taximeter repair skip{topic} --partition {partition} --offset {match[1]}" for partition, match in places if match)
    return {
        "MeterMissing": ("taximeter meters plan", "taximeter meters apply"),
        "PartitionsAdded": ("taximeter topics check",),
        "FormDiffers": ("taximeter verify", "taximeter meters list"),
        "ChainBroken": ("taximeter verify",),
    }.get(kind, ())


def _owners(facts: Facts) -> Iterator[Cause]:
    for service, group in sorted(facts.groups.items()):
        unowned = sorted(set(range(facts.partitions)) - group.owned)
        if not group.members:
            yield Cause(
                Urgency.NOW, f"no {service} runs: nothing is {'counted' if service == 'aggregator' else 'reported'}", (), "TaximeterServiceDown"
            )
        elif unowned and group.state == "Stable":
            yield Cause(Urgency.NOW, f"no {service} owns {_partitions(unowned)}", (), "TaximeterPartitionsUnowned")
        elif group.state != "Stable":
            yield Cause(Urgency.NOTE, f"the {service}s are agreeing on who owns which partition; ask again in a minute")
        elif len(group.members) == 1 and facts.partitions > 1:
            yield Cause(Urgency.NOTE, f"one {service} runs: while it restarts, nothing is done", (), "TaximeterRedundancyLost")


def _topics(facts: Facts) -> Iterator[Cause]:
    for problem in facts.topic_problems:
        yield Cause(Urgency.NOW, problem, ("taximeter topics check",), "TaximeterTopicsWrong")


def _transactions(facts: Facts) -> Iterator[Cause]:
    for each in facts.positions:
        if each.held_back > 0:
            what = f"an open transaction of another producer at offset {each.readable_end} holds back {each.held_back:,} records of partition"
            yield Cause(Urgency.NOTE, f"{what} {each.partition}; it is one for a person after ten minutes", (), "TaximeterTransactionOpen")


def _refusals(facts: Facts) -> Iterator[Cause]:
    if facts.refused:
        codes = ", ".join(f"{count:,} {code}" for code, count in sorted(facts.refused.items(), key=lambda entry: -entry[1]))
        page = "TaximeterMeterEventsParked" if set(facts.refused) == {"parked"} else "TaximeterMeterEventsRejected"
        yield Cause(
            Urgency.NOW, f"meter events that Stripe refused or lost, and nobody has answered: {codes}", ("taximeter rejected list --open",), page
        )
    if facts.unnamed:
        what = f"Stripe refused {facts.unnamed:,} meter events later and does not say which"
        yield Cause(Urgency.NOW, what, ("taximeter stripe errors", "taximeter reconcile --all --plan DIR"), "TaximeterStripeRefusalsUnnamed")
    evidence = StripeEvidence()
    for each in facts.positions:
        evidence.add(each.evidence)
    if cells := len(evidence.differing) + evidence.unkept:
        what = f"Stripe's sums differ from the ledger in {cells:,} cells"
        yield Cause(Urgency.NOW, what, ("taximeter reconcile --all --plan DIR",), "TaximeterDiffersFromStripe")


def _late(facts: Facts) -> Iterator[Cause]:
    for meter, usage in sorted(carried_usage(facts.positions).items()):
        what = f"Stripe refuses the meter {meter}: {usage.amount} are held"
        yield Cause(Urgency.NOW, what, ("taximeter stripe setup --dry-run", "taximeter stripe setup --yes"), "TaximeterMeterHeld")
    for meter, usage in sorted(unlinked_usage(facts.positions).items()):
        what = f"customers are linked to none of Stripe's: {usage.amount} of {meter} are held"
        yield Cause(Urgency.SOON, what, ("taximeter customers list --held",), "TaximeterUnlinkedUsage")
    if facts.stripe.problem or any(not group.members for group in facts.groups.values()):
        return
    if facts.is_stuck:
        yield Cause(
            Urgency.NOW, "meter events wait and none got an outcome in five minutes", ("taximeter stripe doctor",), "TaximeterReportingDelayed"
        )
    elif meets_deadline(facts) is False:
        yield Cause(Urgency.NOW, "what waits will miss the next invoices at this pace", (), "TaximeterUsageMissesInvoice")
    elif facts.waits_since_ms is not None and facts.now_ms - facts.waits_since_ms > DELAYED_MS:
        minutes = (facts.now_ms - facts.waits_since_ms) // 60_000
        yield Cause(Urgency.SOON, f"the oldest usage has waited for {minutes:,} min to be reported", (), "TaximeterReportingDelayed")


def _set_aside(facts: Facts) -> Iterator[Cause]:
    if facts.set_aside:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(facts.set_aside.items(), key=lambda entry: -entry[1]))
        yield Cause(Urgency.SOON, f"events were set aside and are not billed: {reasons}", ("taximeter deadletters list",), "TaximeterDeadLetters")
    if lost := sum(each.lost_records for each in facts.positions):
        yield Cause(Urgency.NOTE, f"{lost:,} records were accepted as lost", ("taximeter verify",))


def _versions(facts: Facts) -> Iterator[Cause]:
    running = {version for group in facts.groups.values() for version in group.versions}
    if len(running) > 1:
        yield Cause(Urgency.NOTE, f"several versions run: {', '.join(sorted(running))}")


def _partitions(found: Collection[int]) -> str:
    numbers = sorted(found)
    named = ", ".join(map(str, numbers[:PARTITIONS_NAMED]))
    more = f" and {len(numbers) - PARTITIONS_NAMED:,} more" if len(numbers) > PARTITIONS_NAMED else ""
    return f"partition{'s' if len(numbers) > 1 else ''} {named}{more}"
