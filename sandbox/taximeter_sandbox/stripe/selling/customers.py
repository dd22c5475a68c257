"""Customers: as much of them as metering and its bills need."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from taximeter_sandbox.stripe.http.errors import invalid, no_such
from taximeter_sandbox.stripe.http.metadata import Metadata, MetadataChange, read_change, read_metadata
from taximeter_sandbox.stripe.http.parameters import Parameters


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
    metadata: Metadata = ()
    default_payment_method: str | None = None


@dataclass(frozen=True, slots=True)
class CustomerDraft:
    """The validated parameters of a create call."""

    name: str | None
    email: str | None
    description: str | None
    phone: str | None
    metadata: Metadata


@dataclass(frozen=True, slots=True)
class CustomerChange:
    """The validated parameters of an update: None leaves a field as it is, "" unsets it."""

    name: str | None
    email: str | None
    description: str | None
    phone: str | None
    default_payment_method: str | None
    metadata: MetadataChange


def read_draft(parameters: Parameters) -> CustomerDraft:
    """Validate the parameters of `POST /v1/customers`; of Stripe's long list, the ones in CustomerDraft. Raises ApiError."""
    draft = CustomerDraft(
        name=parameters.optional_text("name", length_max=256),
        email=parameters.optional_text("email", length_max=512),
        description=parameters.optional_text("description", length_max=5000),
        phone=parameters.optional_text("phone", length_max=20),
        metadata=read_metadata(parameters),
    )
    parameters.finish()
    _check_email(draft.email)
    return draft


def read_changes(parameters: Parameters) -> CustomerChange:
    """Validate the parameters of `POST /v1/customers/{id}`. Raises ApiError."""
    settings = parameters.optional_group("invoice_settings")
    method = None
    if settings is not None:
        method = settings.clearable_text("default_payment_method", length_max=5000)
        settings.finish()
    change = CustomerChange(
        name=parameters.clearable_text("name", length_max=256),
        email=parameters.clearable_text("email", length_max=512),
        description=parameters.clearable_text("description", length_max=5000),
        phone=parameters.clearable_text("phone", length_max=20),
        default_payment_method=method,
        metadata=read_change(parameters),
    )
    parameters.finish()
    _check_email(change.email or None)
    return change


def _check_email(email: str | None) -> None:
    if email is not None and "@" not in email:
        raise invalid(f"Invalid email address: {email}", "email", "email_invalid")


def changed(customer: Customer, change: CustomerChange) -> Customer:
    """The customer after an update. Raises ApiError (404) when it is deleted."""
    if customer.deleted:
        raise no_such("customer", customer.id)
    return replace(
        customer,
        name=_after(customer.name, change.name),
        email=_after(customer.email, change.email),
        description=_after(customer.description, change.description),
        phone=_after(customer.phone, change.phone),
        default_payment_method=_after(customer.default_payment_method, change.default_payment_method),
        metadata=change.metadata.applied(customer.metadata),
    )


def _after(before: str | None, change: str | None) -> str | None:
    return before if change is None else change or None


def invoice_prefix(customer: str) -> str:
    """What the numbers of a customer's invoices start with."""
    return hashlib.blake2b(customer.encode(), digest_size=4).hexdigest().upper()


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
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": customer.default_payment_method,
            "footer": None,
            "rendering_options": None,
        },
        "invoice_prefix": invoice_prefix(customer.id),
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
