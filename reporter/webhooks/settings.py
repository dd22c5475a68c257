"""Options of the reporter's webhook endpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from metering.configuration.secrets import Secret
from metering.configuration.settings import option
from metering.process.descriptors import descriptor_problem
from metering.stripe.signatures import TOLERANCE_S, WEBHOOK_BYTES_MAX
from reporter.webhooks.hooks import HookUnusable, load_hook

METADATA_KEY_CHARS_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """Section `webhooks`."""

    enabled: bool | None = option(
        doc="Take webhooks at POST /webhooks/stripe, on a separate port that Stripe can reach; none means: if there is a signing secret.",
        default=None,
    )
    host: str = option(doc="Address that webhooks are taken on; in a container usually 0.0.0.0.", default="127.0.0.1")
    port: int = option(doc="Port that webhooks are taken on; 0 takes a free one, which is logged.", default=4242, minimum=0, maximum=65535)
    port_file: Path | None = option(doc="File to write the port's number into, for the program that started the process.", default=None)
    signing_secrets: tuple[Secret, ...] = option(
        doc="Signing secrets (whsec_...) of the endpoints in Stripe that post here: one for snapshot events, one for thin events, and during a"
        " change the old and the new one.",
        default=(),
        alias="STRIPE_WEBHOOK_SECRETS",
    )
    tolerance_seconds: int = option(
        doc="How old a signature may be; Stripe signs each attempt again.", default=TOLERANCE_S, unit="seconds", minimum=1, maximum=3600
    )
    body_bytes_max: int = option(doc="Largest request body.", default=WEBHOOK_BYTES_MAX, unit="bytes", minimum=1024, maximum=16 * 1024 * 1024)
    queue_max: int = option(
        doc="Events that may wait to be processed, error reports and others each; beyond it the answer is 503, and Stripe sends the event again.",
        default=1_000,
        minimum=1,
        maximum=100_000,
    )
    connections_max: int = option(
        doc="Most connections at once; a further one takes the place of the one that has waited longest without a request.",
        default=100,
        minimum=1,
        maximum=10_000,
    )
    connections_per_address_max: int = option(
        doc="The same among connections of one remote address (of IPv6: its first 64 bits); 0 for no limit, as behind a load balancer.",
        default=50,
        minimum=0,
        maximum=10_000,
    )
    read_seconds: float = option(doc="How long a client may take to send a request's body.", default=10.0, unit="seconds", minimum=0.1, maximum=300)
    backfill_seconds: float = option(
        doc="How often Stripe is asked for error reports whose notification was lost; also without an endpoint; 0 means never.",
        default=900.0,
        unit="seconds",
        minimum=0,
        maximum=86_400,
    )
    hook: str | None = option(
        doc="package.module:function that is called with each event (a metering.stripe.signatures.WebhookEvent), plain or async. An event may come"
        " more than once, and one that was taken just before a crash may not come at all.",
        default=None,
    )
    hook_seconds: float = option(doc="How long one call of the hook may take.", default=10.0, unit="seconds", minimum=0.1, maximum=300)
    hook_calls_max: int = option(doc="Most calls of the hook at once.", default=4, minimum=1, maximum=64)

    customers_field: str | None = option(
        doc="Metadata field in which Stripe's customers name the customers they are billed for: links follow it, within seconds of the webhooks"
        " customer.created, customer.updated and customer.deleted. None: links are written by people and `taximeter customers` alone.",
        default=None,
    )
    customers_seconds: float = option(
        doc="How often all of Stripe's customers are read for that field, in case a webhook was lost; also without an endpoint; 0 means never.",
        default=86_400.0,
        unit="seconds",
        minimum=0,
        maximum=30 * 86_400,
    )
    customers_share: float = option(
        doc="Which part of stripe.reads_per_month is used for that field. What it does not allow waits.",
        default=0.25,
        minimum=0.001,
        maximum=1,
    )

    @property
    def is_on(self) -> bool:
        """Whether webhooks are taken."""
        return bool(self.signing_secrets) if self.enabled is None else self.enabled

    def problems(self) -> tuple[str, ...]:
        """Broken rules between the fields. Imports the module of the hook."""
        found = []
        descriptors = descriptor_problem(self.connections_max)
        if self.enabled and descriptors is not None:
            found.append(descriptors)
        if self.enabled and not self.signing_secrets:
            found.append("enabled is true, but signing_secrets is empty; it takes the whsec_... of each endpoint in Stripe")
        if any(not secret.reveal().startswith("whsec_") for secret in self.signing_secrets):
            found.append("signing_secrets has one that does not begin with whsec_; Stripe shows it with the endpoint")
        if self.customers_field is not None and not 0 < len(self.customers_field) <= METADATA_KEY_CHARS_MAX:
            found.append(f"customers_field must be 1 to {METADATA_KEY_CHARS_MAX} characters, as names of metadata at Stripe are")
        if self.hook is not None:
            try:
                load_hook(self.hook)
            except HookUnusable as error:
                found.append(f"hook is {self.hook!r}: {error}")
        return tuple(found)
