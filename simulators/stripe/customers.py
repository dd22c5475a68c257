"""Customers: as much of them as metering needs (create, retrieve, delete, list)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from simulators.stripe.errors import invalid, no_such
from simulators.stripe.parameters import Parameters

METADATA_KEYS_MAX = 50


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer; `created` in Unix seconds."""

    id: str
    created: int
    livemode: bool
    deleted: bool = False
    name: str | None = None
    email: str | None = None
    description: str | None = None
    phone: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class CustomerDraft:
    """The validated parameters of a create call."""

    name: str | None
    email: str | None
    description: str | None
    phone: str | None
    metadata: tuple[tuple[str, str], ...]


def read_draft(parameters: Parameters) -> CustomerDraft:
    """Validate the parameters of `POST /v1/customers`; of Stripe's long list, the ones in CustomerDraft. Raises ApiError."""
    metadata = parameters.text_map("metadata") or {}
    draft = CustomerDraft(
        name=parameters.optional_text("name", length_max=256),
        email=parameters.optional_text("email", length_max=512),
        description=parameters.optional_text("description", length_max=5000),
        phone=parameters.optional_text("phone", length_max=20),
        metadata=tuple((key, value) for key, value in metadata.items() if value),
    )
    parameters.finish()
    if len(metadata) > METADATA_KEYS_MAX:
        raise invalid(f"Metadata can have at most {METADATA_KEYS_MAX} keys.", "metadata")
    for key, value in metadata.items():
        if len(key) > 40 or len(value) > 500:
            raise invalid("Metadata keys can have up to 40 characters and values up to 500.", f"metadata[{key[:40]}]")
    if draft.email is not None and "@" not in draft.email:
        raise invalid(f"Invalid email address: {draft.email}", "email", "email_invalid")
    return draft


def customer_object(customer: Customer) -> dict[str, object]:
    """The `customer` that the API shows; a deleted one is only a marker."""
    if customer.deleted:
        return {"id": customer.id, "object": "customer", "deleted": True}
    return {
        "id": customer.id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": customer.created,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": customer.description,
        "email": customer.email,
        "invoice_settings": {"custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None},
        "livemode": customer.livemode,
        "metadata": dict(customer.metadata),
        "name": customer.name,
        "phone": customer.phone,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


class CustomerDirectory:
    """All customers ever created, in order of creation; deleted ones stay as markers."""

    def __init__(self) -> None:
        self._by_id: dict[str, Customer] = {}

    def __iter__(self) -> Iterator[Customer]:
        return (customer for customer in self._by_id.values() if not customer.deleted)

    def __len__(self) -> int:
        return len(self._by_id)

    def exists(self, customer_id: str) -> bool:
        """Whether usage can be billed to this customer."""
        customer = self._by_id.get(customer_id)
        return customer is not None and not customer.deleted

    def known(self, customer_id: str) -> bool:
        """Whether there is, or once was, such a customer."""
        return customer_id in self._by_id

    def get(self, customer_id: str) -> Customer:
        """The customer, possibly a deleted one. Raises ApiError (404) when there never was one."""
        customer = self._by_id.get(customer_id)
        if customer is None:
            raise no_such("customer", customer_id)
        return customer

    def put(self, customer: Customer) -> None:
        """Add a customer or put a new version in place."""
        self._by_id[customer.id] = customer


def deleted(customer: Customer) -> Customer:
    """The marker that stays. Raises ApiError (404) when it is deleted already."""
    if customer.deleted:
        raise no_such("customer", customer.id)
    return replace(customer, deleted=True)
