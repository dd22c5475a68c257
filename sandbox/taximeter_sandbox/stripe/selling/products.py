"""Products: what prices are for."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.http.metadata import Metadata, read_change, read_metadata
from taximeter_sandbox.stripe.http.parameters import Parameters


@dataclass(frozen=True, slots=True)
class Product:
    """One product; times in Unix seconds."""

    id: str
    created: int
    updated: int
    livemode: bool
    name: str
    active: bool = True
    deleted: bool = False
    description: str | None = None
    unit_label: str | None = None
    statement_descriptor: str | None = None
    tax_code: str | None = None
    url: str | None = None
    default_price: str | None = None
    metadata: Metadata = ()


class ProductDraft(NamedTuple):
    """The validated parameters of a create call; `id` when the caller chose one."""

    id: str | None
    name: str
    active: bool
    description: str | None
    unit_label: str | None
    statement_descriptor: str | None
    tax_code: str | None
    url: str | None
    metadata: Metadata


def read_draft(parameters: Parameters) -> ProductDraft:
    """Validate the parameters of `POST /v1/products`. Raises ApiError."""
    description = parameters.optional_text("description", length_max=40_000)
    url = parameters.optional_text("url", length_max=2048)
    return read_inline_draft(parameters)._replace(description=description, url=url)


def read_inline_draft(parameters: Parameters) -> ProductDraft:
    """Validate `product_data` of a price, which takes less. Raises ApiError."""
    draft = ProductDraft(
        id=parameters.optional_text("id", length_max=5000),
        name=parameters.text("name", length_max=5000),
        active=parameters.optional_flag("active") is not False,
        description=None,
        unit_label=parameters.optional_text("unit_label", length_max=12),
        statement_descriptor=parameters.optional_text("statement_descriptor", length_max=22),
        tax_code=parameters.optional_text("tax_code", length_max=5000),
        url=None,
        metadata=read_metadata(parameters),
    )
    parameters.finish()
    return draft


def made(draft: ProductDraft, identity: str, now_s: int, *, livemode: bool) -> Product:
    """A new product."""
    fields = draft._asdict() | {"id": identity}
    return Product(created=now_s, updated=now_s, livemode=livemode, **fields)


def read_changes(parameters: Parameters) -> Callable[[Product], Product]:
    """Validate the parameters of `POST /v1/products/{id}`. Raises ApiError."""
    name = parameters.optional_text("name", length_max=5000)
    active = parameters.optional_flag("active")
    texts = {
        "description": parameters.clearable_text("description", length_max=40_000),
        "unit_label": parameters.clearable_text("unit_label", length_max=12),
        "tax_code": parameters.clearable_text("tax_code", length_max=5000),
        "url": parameters.clearable_text("url", length_max=2048),
        "statement_descriptor": parameters.optional_text("statement_descriptor", length_max=22),
        "default_price": parameters.optional_text("default_price", length_max=5000),
    }
    metadata = read_change(parameters)
    parameters.finish()

    def change(product: Product) -> Product:
        return replace(
            product,
            name=product.name if name is None else name,
            active=product.active if active is None else active,
            metadata=metadata.applied(product.metadata),
            **{field: text or None for field, text in texts.items() if text is not None},  # type: ignore[arg-type]  # all of these are texts
        )

    return change


def deleted(product: Product, *, has_prices: bool) -> Product:
    """The marker that stays. Raises ApiError (400) when the product has prices."""
    if has_prices:
        raise invalid("This product cannot be deleted because it has one or more user-created prices.", "id")
    return replace(product, deleted=True, active=False)


def product_object(product: Product) -> dict[str, object]:
    """The `product` that the API shows; a deleted one is only a marker."""
    if product.deleted:
        return {"id": product.id, "object": "product", "deleted": True}
    return {
        "id": product.id,
        "object": "product",
        "active": product.active,
        "created": product.created,
        "default_price": product.default_price,
        "description": product.description,
        "images": [],
        "livemode": product.livemode,
        "marketing_features": [],
        "metadata": dict(product.metadata),
        "name": product.name,
        "package_dimensions": None,
        "shippable": None,
        "statement_descriptor": product.statement_descriptor,
        "tax_code": product.tax_code,
        "type": "service",
        "unit_label": product.unit_label,
        "updated": product.updated,
        "url": product.url,
    }
