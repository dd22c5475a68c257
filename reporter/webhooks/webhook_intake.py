"""Decides about webhooks with a valid signature: whether the event is new, and which lane it goes to. Pure."""

from collections import OrderedDict
from enum import StrEnum
from typing import Final

from metering.stripe.signatures import WebhookEvent
from reporter.stripe.report_types import REPORT_TYPES

IDS_MAX: Final = 100_000

# The types that Stripe's guide to usage-based billing says to monitor (docs.stripe.com/billing/subscriptions/usage-based), and those of customers.
MONITORED: Final = (
    "checkout.session.completed",
    "setup_intent.succeeded",
    "setup_intent.setup_failed",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.created",
    "customer.updated",
    "customer.deleted",
    "invoice.created",
    "invoice.upcoming",
    "invoice.finalized",
    "invoice.finalization_failed",
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "billing.meter.deactivated",
    "billing.alert.triggered",
)
OTHER_TYPE: Final = "other"


class IntakeVerdict(StrEnum):
    """The decision about an event. All but QUEUE_FULL are answered with 200."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    OTHER_MODE = "other_mode"  # a test event where live ones are billed, or the other way round
    QUEUE_FULL = "queue_full"  # Stripe sends it again


class Lane(StrEnum):
    """Error reports have a queue of their own, so that neither kind can fill the queue of the other."""

    REPORTS = "reports"
    OTHERS = "others"


class RecentEventIds:
    """The last `size` ids, ordered by when each was last seen."""

    __slots__ = ("_ids", "_size")

    def __init__(self, size: int = IDS_MAX) -> None:
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, identity: str) -> bool:
        return identity in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, identity: str) -> None:
        """Remember an id; beyond `size`, forget the oldest."""
        self._ids[identity] = None
        self._ids.move_to_end(identity)
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)

    def discard(self, identity: str) -> None:
        """Forget an id."""
        self._ids.pop(identity, None)


class WebhookIntake:
    """Remembers the events that were taken. `livemode`: whether this installation bills real customers."""

    def __init__(self, *, livemode: bool, queue_max: int, ids_max: int = IDS_MAX) -> None:
        self._livemode = livemode
        self._queue_max = queue_max
        self.known = RecentEventIds(ids_max)

    def admit(self, event: WebhookEvent, waiting: int) -> IntakeVerdict:
        """Decide about an event, and remember it if it is taken. `waiting` is the number of events in its lane."""
        if event.livemode != self._livemode:
            return IntakeVerdict.OTHER_MODE
        if event.id in self.known:
            self.known.add(event.id)
            return IntakeVerdict.DUPLICATE
        if waiting >= self._queue_max:
            return IntakeVerdict.QUEUE_FULL
        self.known.add(event.id)
        return IntakeVerdict.ACCEPTED

    def forget(self, event_id: str) -> None:
        """Forget an event that could not be processed, so that it can come again."""
        self.known.discard(event_id)


def lane_of(event: WebhookEvent) -> Lane:
    """The lane of an event."""
    return Lane.REPORTS if event.type in REPORT_TYPES else Lane.OTHERS


def label_of(kind: str) -> str:
    """The type of an event as a label of the metrics."""
    return kind if kind in MONITORED or kind in REPORT_TYPES else OTHER_TYPE
