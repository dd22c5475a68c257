"""What an installation is checked for, and what follows from what was seen. Pure: observations in, verdicts out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final, Literal, TypeAlias

from billing.catalogue.account import Account
from billing.catalogue.plan import Action, ArchivePrice, ChangeProduct, Obstacle, RenameMeter, plan
from billing.catalogue.plan_text import describe
from billing.catalogue.pricing import Wanted
from billing.checkup.permissions import INDISPENSABLE, REPORTER, Permission
from metering.configuration.secrets import Secret

SKEW_WARNING_S: Final = 60.0
SKEW_FAILURE_S: Final = 240.0
_REFUSED_SIGNATURE: Final = 400

State: TypeAlias = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's: what was looked at, how it is, what was seen, and what to do about it ("" when all is well)."""

    name: str
    state: State
    seen: str
    way_out: str = ""


@dataclass(frozen=True, slots=True)
class TimedReply:
    """What came back from Stripe; header names in small letters, `sent_s` and `received_s` in Unix seconds of this machine's clock."""

    status: int
    message: str
    code: str
    headers: Mapping[str, str]
    sent_s: float
    received_s: float


@dataclass(frozen=True, slots=True)
class Destination:
    """Where Stripe delivers events to. `url` is "" where Stripe does not say."""

    id: str
    url: str
    enabled: bool
    thin: bool
    event_types: frozenset[str]


def check_key_kind(key: Secret, *, production: bool) -> Check:
    """Test or live, secret or restricted, against the settings. The key itself is not shown."""
    text = key.reveal()
    live, restricted = "_live_" in text[:20], text.startswith("rk_")
    seen = f"a {'restricted' if restricted else 'secret'} key in {'live' if live else 'test'} mode"
    if live != production:
        way_out = "set production to true in [stripe]" if live else "use a live key, or set production to false in [stripe]"
        return Check("key", "failed", f"{seen}, and production is {str(production).lower()}", way_out)
    if production and not restricted:
        return Check(
            "key", "warning", f"{seen}: it may do everything in the account", "make a restricted key with the permissions that are listed here"
        )
    return Check("key", "ok", seen)


def check_clock(reply: TimedReply) -> Check:
    """This machine's clock against the Date of Stripe's reply, which is in whole seconds and was written half a round trip ago."""
    name = "clock"
    try:
        theirs = parsedate_to_datetime(reply.headers["date"]).timestamp() + 0.5
    except (KeyError, ValueError):
        return Check(name, "warning", "Stripe's reply has no date to compare with", "check that this machine's clock is synchronised")
    skew = (reply.sent_s + reply.received_s) / 2 - theirs
    margin = (reply.received_s - reply.sent_s) / 2 + 0.5
    certain = max(0.0, abs(skew) - margin)
    seen = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Stripe's, give or take {margin:.1f} s"
    if certain <= SKEW_WARNING_S:
        return Check(name, "ok", seen)
    way_out = "synchronise this machine's clock (NTP); Stripe refuses usage of more than 5 minutes in the future"
    return Check(name, "failed" if certain > SKEW_FAILURE_S else "warning", seen, way_out)


def check_version(reply: TimedReply, expected: str) -> Check:
    """The API version that Stripe answers in, against the one that the library is made for."""
    version = reply.headers.get("stripe-version", "")
    if version == expected:
        return Check("API version", "ok", version)
    seen = f"asked for {expected}, answered in {version or 'an unnamed one'}"
    return Check("API version", "warning", seen, "use the version of the stripe library that Taximeter requires")


def check_permission(permission: Permission, reply: TimedReply, *, way_to_grant: str = "Stripe's dashboard, API keys") -> Check:
    """What the reply to the permission's call says about it."""
    name = f"permission {permission.name}"
    users = ", ".join(permission.users)
    if reply.status == 403:
        lost = f"missing; needed by {users}"
        is_vital = REPORTER in permission.users and permission.name in INDISPENSABLE
        return Check(name, "failed" if is_vital else "warning", lost, f"grant it to the key ({way_to_grant}), unless nobody uses {users}")
    if reply.status < 400 or reply.status == 400 or (reply.status == 404 and reply.code == "resource_missing"):
        return Check(name, "ok", f"granted; for {users}")
    if reply.status == 404:
        unknown = f"cannot be determined: this server does not know {permission.method.upper()} {permission.path}"
        return Check(name, "warning", unknown, "see api_base in [stripe]")
    return Check(
        name, "warning", f"cannot be determined: the reply was {reply.status}: {reply.message}", "run this again; see https://status.stripe.com"
    )


def check_catalogue(wanted: Wanted, found: Account) -> list[Check]:
    """Each meter, product and price of the settings file: is it at Stripe, in use, and the same?"""
    subjects = [f"meter {meter.event_name}" for meter in wanted.meters]
    subjects += [f"product {product.key}" for product in wanted.products]
    subjects += [f"price {price.key}" for price in wanted.prices]
    comparison = plan(wanted, found)
    return [
        _check_subject(
            subject,
            [action for action in comparison.actions if describe(action).subject == subject],
            [obstacle for obstacle in comparison.obstacles if obstacle.subject == subject],
        )
        for subject in subjects
    ]


def _check_subject(subject: str, actions: Sequence[Action], obstacles: Sequence[Obstacle]) -> Check:
    if obstacles:
        return Check(subject, "failed", "; ".join(obstacle.difference for obstacle in obstacles), obstacles[0].way_out)
    if not actions:
        return Check(subject, "ok", "as in the settings file")
    seen = "; ".join(f"setup would {describe(action).text}" for action in actions)
    return Check(subject, "warning" if all(map(_is_cosmetic, actions)) else "failed", seen, "taximeter stripe setup")


def _is_cosmetic(action: Action) -> bool:
    """Whether bills are right without it."""
    return isinstance(action, RenameMeter | ArchivePrice) or (isinstance(action, ChangeProduct) and action.was_active)


def check_reception(url: str, status: int | None, error: str) -> Check:
    """What our webhook endpoint said to a POST that bears no signature; `status` is None when it said nothing, and `error` says why."""
    name = "webhook endpoint"
    if status is None:
        return Check(
            name, "failed", f"{url} cannot be reached from here: {error}", "start the reporter with a signing secret; check address and proxy"
        )
    if status == _REFUSED_SIGNATURE:
        return Check(name, "ok", f"{url} refuses what is not signed")
    if status < 300:
        return Check(
            name, "failed", f"{url} answers {status} to a POST without signature", "this is not Taximeter's endpoint, or something answers for it"
        )
    return Check(name, "failed", f"{url} answers {status} instead of 400", "the path is /webhooks/stripe on the port of [webhooks]; check the proxy")


def check_destinations(url: str, destinations: Sequence[Destination], *, thin_types: Sequence[str], snapshot_types: Sequence[str]) -> list[Check]:
    """Whether Stripe delivers to this URL what is needed: error reports as thin events, the others as snapshot events."""
    here = [destination for destination in destinations if destination.url.rstrip("/") == url.rstrip("/")]
    enabled = [destination for destination in here if destination.enabled]
    return [_delivery(enabled, len(here), thin=True, needed=thin_types), _delivery(enabled, len(here), thin=False, needed=snapshot_types)]


def _delivery(enabled: Sequence[Destination], known: int, *, thin: bool, needed: Sequence[str]) -> Check:
    kind = "thin" if thin else "snapshot"
    name, mine = f"{kind} events", [destination for destination in enabled if destination.thin == thin]
    if not mine:
        disabled = " that is enabled" if known > 0 else ""
        # Without error reports, usage that Stripe drops later is noticed only by asking for them.
        state: State = "failed" if thin else "warning"
        return Check(name, state, f"Stripe has no destination{disabled} for {kind} events with this URL", f"create one for: {', '.join(needed)}")
    types = frozenset().union(*(destination.event_types for destination in mine))
    missing = [] if "*" in types else [kind for kind in needed if kind not in types]
    ids = ", ".join(destination.id for destination in mine)
    if missing:
        return Check(name, "failed" if thin else "warning", f"{ids} does not get {', '.join(missing)}", "enable these event types")
    return Check(name, "ok", f"{ids} gets everything that is needed")
