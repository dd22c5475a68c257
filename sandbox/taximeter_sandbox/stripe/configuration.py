"""Settings from JSON, at start (`--config`) or over the control API, checked strictly: a misspelt switch must not be silence.

A document has any of the sections `assumptions`, `limits`, `processing`, `webhooks`, `billing`, `keys` (fields given replace, others stay) and
`faults`, `latency`, `outage` (each replaces what was there). ValueError names the field and what it may be.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from taximeter_sandbox.stripe.http.keys import KeyRing
from taximeter_sandbox.stripe.invoicing.billing_settings import BillingSettings
from taximeter_sandbox.stripe.metering.processing import Processing
from taximeter_sandbox.stripe.state.assumptions import Assumptions
from taximeter_sandbox.stripe.traffic.faults import ANY_ROUTE, Fault, FaultPlan, Latency, OutageMode
from taximeter_sandbox.stripe.traffic.limits import Limits
from taximeter_sandbox.stripe.webhooks.deliveries import Webhooks

SECTIONS = ("assumptions", "limits", "processing", "webhooks", "billing", "keys", "faults", "latency", "outage")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be changed while the simulator runs, apart from the clock and the script."""

    assumptions: Assumptions = field(default_factory=Assumptions)
    limits: Limits = field(default_factory=Limits)
    processing: Processing = field(default_factory=Processing)
    webhooks: Webhooks = field(default_factory=Webhooks)
    billing: BillingSettings = field(default_factory=BillingSettings)
    keys: KeyRing = field(default_factory=KeyRing)
    plan: FaultPlan = field(default_factory=FaultPlan)


def changed(settings: Settings, document: Mapping[str, object], routes: Iterable[str]) -> Settings:
    """The settings with a document's changes. `routes` are the names that faults and latencies may be for."""
    unknown = set(document) - set(SECTIONS)
    if unknown:
        raise ValueError(f"unknown section {min(unknown)!r}, must be among {', '.join(SECTIONS)}")
    names = {*routes, ANY_ROUTE}
    plan = settings.plan
    if "faults" in document:
        faults = {route: _faults(given, f"faults.{route}") for route, given in _routes(document["faults"], "faults", names).items()}
        plan = replace(plan, faults=faults)
    if "latency" in document:
        latency = {route: read(Latency(), given, f"latency.{route}") for route, given in _routes(document["latency"], "latency", names).items()}
        plan = replace(plan, latency=latency)
    if "outage" in document:
        plan = replace(plan, outage=cast("OutageMode", _value(document["outage"], OutageMode, "outage")))
    return Settings(
        assumptions=read(settings.assumptions, document.get("assumptions", {}), "assumptions"),
        limits=read(settings.limits, document.get("limits", {}), "limits"),
        processing=read(settings.processing, document.get("processing", {}), "processing"),
        webhooks=read(settings.webhooks, document.get("webhooks", {}), "webhooks"),
        billing=read(settings.billing, document.get("billing", {}), "billing"),
        keys=_keys(settings.keys, document["keys"]) if "keys" in document else settings.keys,
        plan=plan,
    )


def read(current: T, given: object, where: str) -> T:
    """The dataclass `current` with the fields of a JSON object, each checked against its annotation."""
    changes = _object(given, where)
    hints = get_type_hints(type(current))
    known = [item.name for item in fields(cast("Any", current))]
    for name in changes:
        if name not in known:
            raise ValueError(f"{where}: unknown field {name!r}, must be among {', '.join(known)}")
    checked = {name: _value(value, hints[name], f"{where}.{name}") for name, value in changes.items()}
    return cast("T", replace(cast("Any", current), **checked))


def read_fault(given: object, where: str) -> Fault:
    """One fault; `kind` is required."""
    if "kind" not in _object(given, where):
        raise ValueError(f"{where}: kind is required")
    return read(Fault("slow"), given, where)


def _faults(given: object, where: str) -> tuple[Fault, ...]:
    if not isinstance(given, list):
        raise ValueError(f"{where}: must be a list of faults")
    return tuple(read_fault(item, f"{where}[{position}]") for position, item in enumerate(given))


def _routes(given: object, where: str, names: set[str]) -> dict[str, object]:
    by_route = _object(given, where)
    for route in by_route:
        if route not in names:
            raise ValueError(f"{where}: unknown route {route!r}, must be among {', '.join(sorted(names))}")
    return by_route


def _keys(current: KeyRing, given: object) -> KeyRing:
    changes = _object(given, "keys")
    unknown = set(changes) - {"accepted", "revoked", "restricted"}
    if unknown:
        raise ValueError(f"keys: unknown field {min(unknown)!r}, must be among accepted, revoked, restricted")
    accepted = _texts(changes["accepted"], "keys.accepted") if "accepted" in changes else current.accepted
    revoked = _texts(changes["revoked"], "keys.revoked") if "revoked" in changes else current.revoked
    restricted = current.restricted
    if "restricted" in changes:
        granted = _object(changes["restricted"], "keys.restricted")
        restricted = {key: _texts(permissions, "keys.restricted") for key, permissions in granted.items()}
    return KeyRing(accepted, revoked, restricted)


def _texts(given: object, where: str) -> frozenset[str]:
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise ValueError(f"{where}: must be a list of strings")
    return frozenset(given)


def _object(given: object, where: str) -> dict[str, object]:
    if not isinstance(given, dict):
        raise ValueError(f"{where}: must be a JSON object")
    return given


def _value(given: object, hint: Any, where: str) -> object:
    """A JSON value checked against an annotation: a Literal, bool, int, float, str, or a union of them with None."""
    if get_origin(hint) is Literal:
        if given in get_args(hint):
            return given
        raise ValueError(f"{where}: must be one of {', '.join(map(str, get_args(hint)))}")
    options = get_args(hint) if get_origin(hint) is Union or type(hint).__name__ == "UnionType" else (hint,)
    for option in options:
        if type(given) is option or (given is None and option is type(None)):
            return given
        if option is float and type(given) is int:
            return float(given)
    raise ValueError(f"{where}: must be {' or '.join('null' if option is type(None) else option.__name__ for option in options)}")
