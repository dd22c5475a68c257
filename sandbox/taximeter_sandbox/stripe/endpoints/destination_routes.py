"""`/v1/webhook_endpoints` and `/v2/core/event_destinations`: who gets which events."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError, invalid, missing_parameter
from taximeter_sandbox.stripe.http.metadata import read_change, read_metadata
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Result, Route, json_result
from taximeter_sandbox.stripe.http.v2_pages import read_v2_page, v2_list
from taximeter_sandbox.stripe.webhooks.destinations import (
    DESTINATION_PREFIX,
    ENDPOINT_PREFIX,
    URL_CHARS_MAX,
    Destination,
    Payload,
    SigningSecret,
    checked_url,
    destination_object,
    endpoint_object,
)
from taximeter_sandbox.stripe.webhooks.event_log import API_VERSION, thin_object

EVENTS_MAX = 500
TYPE_CHARS_MAX = 200
TEXT_CHARS_MAX = 5000
INCLUDABLE = ("webhook_endpoint.signing_secret", "webhook_endpoint.url")


def destination_routes(account: Account) -> list[Route]:
    """The endpoints for both kinds."""
    v1, v2 = _WebhookEndpoints(account), _EventDestinations(account)
    endpoint, destination = "/v1/webhook_endpoints/{id}", "/v2/core/event_destinations/{id}"
    return [
        Route("webhook_endpoints.create", "POST", "/v1/webhook_endpoints", "webhook_write", v1.create),
        Route("webhook_endpoints.list", "GET", "/v1/webhook_endpoints", "webhook_read", v1.list),
        Route("webhook_endpoints.retrieve", "GET", endpoint, "webhook_read", v1.retrieve),
        Route("webhook_endpoints.update", "POST", endpoint, "webhook_write", v1.update),
        Route("webhook_endpoints.delete", "DELETE", endpoint, "webhook_write", v1.delete),
        Route("v2.event_destinations.create", "POST", "/v2/core/event_destinations", "webhook_write", v2.create),
        Route("v2.event_destinations.list", "GET", "/v2/core/event_destinations", "webhook_read", v2.list),
        Route("v2.event_destinations.retrieve", "GET", destination, "webhook_read", v2.retrieve),
        Route("v2.event_destinations.update", "POST", destination, "webhook_write", v2.update),
        Route("v2.event_destinations.delete", "DELETE", destination, "webhook_write", v2.delete),
        Route("v2.event_destinations.disable", "POST", destination + "/disable", "webhook_write", v2.disable),
        Route("v2.event_destinations.enable", "POST", destination + "/enable", "webhook_write", v2.enable),
        Route("v2.event_destinations.ping", "POST", destination + "/ping", "webhook_write", v2.ping),
    ]


class _WebhookEndpoints:
    """The endpoints of /v1: snapshot events only."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def create(self, call: Call) -> Prepared:
        parameters = call.parameters
        url = checked_url(parameters.text("url", length_max=URL_CHARS_MAX), "url", livemode=call.livemode)
        events = _required_events(parameters)
        description = parameters.optional_text("description", length_max=TEXT_CHARS_MAX)
        api_version = parameters.optional_text("api_version", length_max=100)
        parameters.optional_flag("connect")
        metadata = read_metadata(parameters)
        parameters.finish()

        def commit(now_ms: int) -> Result:
            self._account.destinations.make_room(ENDPOINT_PREFIX)
            notifications = self._account.notifications
            secret = notifications.new_secret()
            destination = Destination(
                id=ENDPOINT_PREFIX + self._account.identities.token(24),
                payload="snapshot",
                url=url,
                enabled_events=events,
                enabled=True,
                livemode=call.livemode,
                created_ms=now_ms,
                updated_ms=now_ms,
                name="",
                description=description,
                metadata=metadata,
                api_version=api_version,
                secrets=(SigningSecret(secret, None),),
            )
            notifications.put_destination(destination)
            return json_result(endpoint_object(destination, secret))

        return Prepared(commit)

    def list(self, call: Call) -> Prepared:
        page = read_page(call.parameters)
        call.parameters.finish()
        return Prepared(
            lambda _: json_result(list_object([endpoint_object(one) for one in self._account.destinations.of(ENDPOINT_PREFIX)], page, call.path))
        )

    def retrieve(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda _: json_result(endpoint_object(self._account.destinations.get(call.identity, ENDPOINT_PREFIX))))

    def update(self, call: Call) -> Prepared:
        parameters = call.parameters
        url = parameters.optional_text("url", length_max=URL_CHARS_MAX)
        if url is not None:
            checked_url(url, "url", livemode=call.livemode)
        events = _optional_events(parameters)
        description = parameters.clearable_text("description", length_max=TEXT_CHARS_MAX)
        disabled = parameters.optional_flag("disabled")
        metadata = read_change(parameters)
        parameters.finish()

        def commit(now_ms: int) -> Result:
            before = self._account.destinations.get(call.identity, ENDPOINT_PREFIX)
            after = replace(
                before,
                url=url or before.url,
                enabled_events=events or before.enabled_events,
                description=before.description if description is None else description or None,
                enabled=before.enabled if disabled is None else not disabled,
                metadata=metadata.applied(before.metadata),
                updated_ms=now_ms,
            )
            self._account.notifications.put_destination(after)
            return json_result(endpoint_object(after))

        return Prepared(commit)

    def delete(self, call: Call) -> Prepared:
        call.parameters.finish()

        def commit(_: int) -> Result:
            self._account.destinations.get(call.identity, ENDPOINT_PREFIX)
            self._account.notifications.remove_destination(call.identity)
            return json_result({"id": call.identity, "object": "webhook_endpoint", "deleted": True})

        return Prepared(commit)


class _EventDestinations:
    """The endpoints of /v2: snapshot or thin events. Only webhooks; the simulator has no event bus to put events on."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def create(self, call: Call) -> Prepared:
        parameters = call.parameters
        parameters.choice("type", ("webhook_endpoint",))
        payload = cast("Payload", parameters.choice("event_payload", ("snapshot", "thin")))
        events = _required_events(parameters)
        name = parameters.text("name", length_max=TEXT_CHARS_MAX)
        description = parameters.optional_text("description", length_max=TEXT_CHARS_MAX)
        parameters.texts("events_from", count_max=4, length_max=100)
        version = parameters.optional_text("snapshot_api_version", length_max=100)
        if version is not None and payload == "thin":
            raise invalid("snapshot_api_version is for snapshot events only.", "snapshot_api_version")
        webhook = parameters.group("webhook_endpoint")
        url = checked_url(webhook.text("url", length_max=URL_CHARS_MAX), "webhook_endpoint[url]", livemode=call.livemode)
        webhook.finish()
        metadata = read_metadata(parameters)
        include = _read_include(parameters)
        parameters.finish()

        def commit(now_ms: int) -> Result:
            self._account.destinations.make_room(DESTINATION_PREFIX)
            notifications = self._account.notifications
            secret = notifications.new_secret()
            mode = "" if call.livemode else "test_"
            destination = Destination(
                id=DESTINATION_PREFIX + mode + self._account.identities.token(50),
                payload=payload,
                url=url,
                enabled_events=events,
                enabled=True,
                livemode=call.livemode,
                created_ms=now_ms,
                updated_ms=now_ms,
                name=name,
                description=description,
                metadata=metadata,
                api_version=None if payload == "thin" else version or API_VERSION,
                secrets=(SigningSecret(secret, None),),
            )
            notifications.put_destination(destination)
            return json_result(destination_object(destination, include, secret))

        return Prepared(commit)

    def list(self, call: Call) -> Prepared:
        include = _read_include(call.parameters)
        page = read_v2_page(call.parameters)
        call.parameters.finish()
        filters = [(f"include[{number}]", name) for number, name in enumerate(sorted(include))]

        def commit(_: int) -> Result:
            all_of_them = self._account.destinations.of(DESTINATION_PREFIX)
            start, end = page.range_of([destination.id for destination in all_of_them])
            next_url = page.next_url(call.path, filters, all_of_them[end - 1].id) if end < len(all_of_them) else None
            return json_result(v2_list([destination_object(one, include) for one in all_of_them[start:end]], next_url))

        return Prepared(commit)

    def retrieve(self, call: Call) -> Prepared:
        include = _read_include(call.parameters)
        call.parameters.finish()
        return Prepared(lambda _: json_result(destination_object(self._get(call), include)))

    def update(self, call: Call) -> Prepared:
        parameters = call.parameters
        name = parameters.optional_text("name", length_max=TEXT_CHARS_MAX)
        description = parameters.clearable_text("description", length_max=TEXT_CHARS_MAX)
        events = _optional_events(parameters)
        webhook = parameters.optional_group("webhook_endpoint")
        url = None
        if webhook is not None:
            url = checked_url(webhook.text("url", length_max=URL_CHARS_MAX), "webhook_endpoint[url]", livemode=call.livemode)
            webhook.finish()
        metadata = read_change(parameters)
        include = _read_include(parameters)
        parameters.finish()

        def changed(before: Destination) -> Destination:
            return replace(
                before,
                name=name or before.name,
                description=before.description if description is None else description or None,
                enabled_events=events or before.enabled_events,
                url=url or before.url,
                metadata=metadata.applied(before.metadata),
            )

        return self._changing(call, changed, include)

    def disable(self, call: Call) -> Prepared:
        call.parameters.finish()
        return self._changing(call, lambda before: replace(before, enabled=False))

    def enable(self, call: Call) -> Prepared:
        call.parameters.finish()
        return self._changing(call, lambda before: replace(before, enabled=True))

    def delete(self, call: Call) -> Prepared:
        call.parameters.finish()

        def commit(_: int) -> Result:
            self._get(call)
            self._account.notifications.remove_destination(call.identity)
            return json_result({"id": call.identity, "object": "v2.core.event_destination", "deleted": True})

        return Prepared(commit)

    def ping(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(thin_object(self._account.notifications.ping(self._get(call), now_ms))))

    def _get(self, call: Call) -> Destination:
        return self._account.destinations.get(call.identity, DESTINATION_PREFIX)

    def _changing(self, call: Call, change: Callable[[Destination], Destination], include: frozenset[str] = frozenset()) -> Prepared:
        def commit(now_ms: int) -> Result:
            after = replace(change(self._get(call)), updated_ms=now_ms)
            self._account.notifications.put_destination(after)
            return json_result(destination_object(after, include))

        return Prepared(commit)


def _optional_events(parameters: Parameters) -> tuple[str, ...] | None:
    events = parameters.texts("enabled_events", count_max=EVENTS_MAX, length_max=TYPE_CHARS_MAX)
    if events is not None and not events:
        raise _no_events()
    return None if events is None else tuple(dict.fromkeys(events))


def _required_events(parameters: Parameters) -> tuple[str, ...]:
    events = _optional_events(parameters)
    if events is None:
        raise missing_parameter("enabled_events")
    return events


def _no_events() -> ApiError:
    return invalid("You must specify at least one event.", "enabled_events")


def _read_include(parameters: Parameters) -> frozenset[str]:
    include = parameters.texts("include", count_max=10, length_max=TYPE_CHARS_MAX) or []
    for name in include:
        if name not in INCLUDABLE:
            raise invalid(f"Invalid include: {name}; must be one of {' or '.join(INCLUDABLE)}", "include")
    return frozenset(include)
