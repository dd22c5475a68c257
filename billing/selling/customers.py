"""Customers: who is billed. A usage event names its customer by the id that Stripe gives here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import stripe

from billing.calls import NotPossible, all_rows, calling, idempotency_key
from billing.reply_fields import field_of
from metering.stripe.client import PAGE_ROWS

if TYPE_CHECKING:
    from stripe.params import CustomerCreateParams, CustomerListParams

KEY_METADATA: Final = "taximeter_key"
SEARCHED_MAX: Final = 2_000
_METADATA_MAX: Final = 50  # Stripe's limits for metadata
_METADATA_KEY_CHARS_MAX: Final = 40
_METADATA_VALUE_CHARS_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as Stripe has it; `created` in Unix seconds, `key` the caller's own name for it, if it was given one."""

    id: str
    name: str | None
    email: str | None
    created: int
    livemode: bool
    metadata: Mapping[str, str]

    @property
    def key(self) -> str | None:
        """The caller's own name for the customer."""
        return self.metadata.get(KEY_METADATA)


@dataclass(frozen=True, slots=True)
class NewCustomer:
    """A customer to be. `key` is the caller's own name for it: with one, there is never a second customer of that name."""

    name: str
    email: str | None = None
    key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """What Stripe would not take."""
        found = [] if self.name.strip() else ["the name is empty"]
        if self.email is not None and "@" not in self.email:
            found.append(f"{self.email!r} is not an e-mail address")
        if len(self.metadata) + 1 > _METADATA_MAX:
            found.append(f"metadata: at most {_METADATA_MAX - 1} entries")
        pairs = [*self.metadata.items(), *([(KEY_METADATA, self.key)] if self.key is not None else [])]
        for name, value in pairs:
            if not 0 < len(name) <= _METADATA_KEY_CHARS_MAX or not 0 < len(value) <= _METADATA_VALUE_CHARS_MAX:
                found.append(f"metadata {name[:_METADATA_KEY_CHARS_MAX]!r}: a name has 1 to 40 characters, a value 1 to 500")
        if KEY_METADATA in self.metadata:
            found.append(f"metadata {KEY_METADATA!r} is the place of the customer's key")
        return found


@dataclass(frozen=True, slots=True)
class Created:
    """The customer, and whether this call made it."""

    customer: Customer
    is_new: bool


async def create_customer(client: stripe.StripeClient, new: NewCustomer, *, key: str | None = None) -> Created:
    """Create a customer, or find the one that has the same key already.

    `key` is the idempotency key, else one that follows from the customer's own key, else a random one: then every call makes a customer. The one
    that exists is looked for among the customers with the same e-mail address, or, without an address, among all of them, up to 2,000.
    Raises NotPossible for a draft that Stripe would not take, for too many customers to look through, and when the customer of this key was
    deleted a moment ago; and what the library raises.
    """
    problems = new.problems()
    if problems:
        raise NotPossible("; ".join(problems))
    if new.key is not None:
        existing = await find_customer(client, new.key, email=new.email)
        if existing is not None:
            return Created(existing, is_new=False)
    params: CustomerCreateParams = {"name": new.name, "metadata": dict(new.metadata)}
    if new.email is not None:
        params["email"] = new.email
    if new.key is not None:
        params["metadata"] = {**new.metadata, KEY_METADATA: new.key}
    chosen = key or idempotency_key("customer", new.key if new.key is not None else uuid4().hex)
    made = await calling(lambda: client.v1.customers.create_async(params, {"idempotency_key": chosen}))
    # The answer may be the one of an earlier call under the same key, and that customer deleted since.
    stands = await calling(lambda: client.v1.customers.retrieve_async(made.id))
    if getattr(stands, "deleted", False):
        raise NotPossible(
            f"{made.id} was created under the same key in the last 24 hours, and deleted since; Stripe still answers with it: use another key"
        )
    return Created(_record(stands), is_new=True)


async def find_customer(client: stripe.StripeClient, key: str, *, email: str | None = None) -> Customer | None:
    """The customer with this key, the oldest one if there are several. Raises NotPossible when there are too many to look through."""
    try:
        found = [customer for customer in await list_customers(client, email=email, rows_max=SEARCHED_MAX) if customer.key == key]
    except NotPossible as error:
        raise NotPossible(f"{error}; give the e-mail address, which narrows the search for {key!r}") from None
    return min(found, key=lambda customer: (customer.created, customer.id), default=None)


async def list_customers(client: stripe.StripeClient, *, email: str | None = None, rows_max: int = SEARCHED_MAX) -> list[Customer]:
    """The customers, newest first; only those with this e-mail address, if one is given. Raises NotPossible when there are more than `rows_max`."""

    async def fetch(after: str | None) -> stripe.ListObject[stripe.Customer]:
        params: CustomerListParams = {"limit": PAGE_ROWS}
        if after is not None:
            params["starting_after"] = after
        if email is not None:
            params["email"] = email
        return await client.v1.customers.list_async(params)

    return [_record(customer) for customer in await all_rows(fetch, what="customers", rows_max=rows_max)]


async def show_customer(client: stripe.StripeClient, customer_id: str) -> Customer:
    """The customer with this id. Raises NotPossible when there is none, or no longer."""
    try:
        found = await calling(lambda: client.v1.customers.retrieve_async(customer_id))
    except stripe.InvalidRequestError as error:
        if error.http_status != 404:
            raise
        raise NotPossible(f"there is no customer {customer_id!r} in this account; `taximeter stripe customer list` shows who there is") from None
    if getattr(found, "deleted", False):
        raise NotPossible(f"the customer {customer_id!r} was deleted: nothing can be billed to it")
    return _record(found)


def _record(customer: stripe.Customer) -> Customer:
    metadata = field_of(customer, "metadata")
    return Customer(
        id=customer.id,
        name=field_of(customer, "name"),
        email=field_of(customer, "email"),
        created=customer.created,
        livemode=customer.livemode,
        metadata={} if metadata is None else metadata.to_dict(),
    )
