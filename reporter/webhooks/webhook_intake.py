"""What happens to a webhook whose signature is right: which event is new, and which lane it goes to. Pure."""

from collections import OrderedDict
from enum import StrEnum
from typing import Final

from metering.stripe.signatures import WebhookEvent
from reporter.stripe.report_types import REPORT_TYPES

IDS_MAX: Final = 100_000

# What Stripe's guide to usage-based billing says to monitor (docs.stripe.com/billing/subscriptions/usage-based).
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


class Admission(StrEnum):
    """What becomes of an event. All but QUEUE_FULL are answered with 200."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    OTHER_MODE = "other_mode"  # a test event where live ones are billed, or the other way round
    QUEUE_FULL = "queue_full"  # to be sent again


class Lane(StrEnum):
    """Error reports and all else wait apart, so that neither can fill the other's room."""

    REPORTS = "reports"
    OTHERS = "others"


class RecentEventIds:
    """The last `size` ids, by when they were last seen."""

    __slots__ = ("_ids", "_size")

    def __init__(self, size: int = IDS_MAX) -> None:
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, identity: str) -> bool:
        return identity in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, identity: str) -> None:
        """Remember it; beyond `size` the oldest is forgotten."""
        self._ids[identity] = None
        self._ids.move_to_end(identity)
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)

    def discard(self, identity: str) -> None:
        """Forget it."""
        self._ids.pop(identity, None)


class WebhookIntake:
    """Knows the events that were taken. `livemode`: whether this installation bills real customers."""

    def __init__(self, *, livemode: bool, queue_max: int, ids_max: int = IDS_MAX) -> None:
        self._livemode = livemode
        self._queue_max = queue_max
        self.known = RecentEventIds(ids_max)

    def admit(self, event: WebhookEvent, waiting: int) -> Admission:
        """Decide on an event, and remember it when it is taken; `waiting` is how many wait in its lane."""
        if event.livemode != self._livemode:
            return Admission.OTHER_MODE
        if event.id in self.known:
            self.known.add(event.id)
            return Admission.DUPLICATE
        if waiting >= self._queue_max:
            return Admission.QUEUE_FULL
        self.known.add(event.id)
        return Admission.ACCEPTED

    def forget(self, event_id: str) -> None:
        """It could not be dealt with: let it come again."""
        self.known.discard(event_id)


def lane_of(event: WebhookEvent) -> Lane:
    """Where an event waits."""
    return Lane.REPORTS if event.type in REPORT_TYPES else Lane.OTHERS


def label_of(kind: str) -> str:
    """The type of an event as a label of the metrics."""
    return kind if kind in MONITORED or kind in REPORT_TYPES else OTHER_TYPE
