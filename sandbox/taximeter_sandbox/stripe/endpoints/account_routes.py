"""Stripe's endpoints: for each a name, a path, the permission it needs, and what it does to the account.

Answering has two steps, so that what must happen between them (lanes, latency, faults) can: `prepare` validates and says
which lane the call needs; the `commit` it returns takes effect at the time it is given. Both raise ApiError.
"""

from collections.abc import Iterable

import orjson

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.endpoints.billing_routes import billing_routes
from taximeter_sandbox.stripe.endpoints.destination_routes import destination_routes
from taximeter_sandbox.stripe.endpoints.event_routes import event_routes, take_usage
from taximeter_sandbox.stripe.endpoints.v2_routes import V2Endpoints
from taximeter_sandbox.stripe.http.errors import ApiError, no_such
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Result, Route, json_result
from taximeter_sandbox.stripe.metering import meters
from taximeter_sandbox.stripe.metering.adjustments import adjustment_object, read_cancellation
from taximeter_sandbox.stripe.metering.meter_events import event_object, read_submission
from taximeter_sandbox.stripe.metering.meters import meter_object
from taximeter_sandbox.stripe.metering.summaries import read_query, summarise
from taximeter_sandbox.stripe.selling import customers
from taximeter_sandbox.stripe.selling.customers import customer_object


class Endpoints:
    """The endpoints of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """Every endpoint there is."""
        meter, customer = "/v1/billing/meters/{id}", "/v1/customers/{id}"
        return [
            Route("meter_events.create", "POST", "/v1/billing/meter_events", "billing_meter_event_write", self._create_event, traffic="meter_events"),
            Route("meter_event_adjustments.create", "POST", "/v1/billing/meter_event_adjustments", "billing_meter_event_write", self._cancel),
            Route("meters.create", "POST", "/v1/billing/meters", "billing_meter_write", self._create_meter),
            Route("meters.list", "GET", "/v1/billing/meters", "billing_meter_read", self._list_meters),
            Route("meters.retrieve", "GET", meter, "billing_meter_read", self._retrieve_meter),
            Route("meters.update", "POST", meter, "billing_meter_write", self._update_meter),
            Route("meters.deactivate", "POST", meter + "/deactivate", "billing_meter_write", self._deactivate_meter),
            Route("meters.reactivate", "POST", meter + "/reactivate", "billing_meter_write", self._reactivate_meter),
            Route("meters.event_summaries", "GET", meter + "/event_summaries", "billing_meter_read", self._list_summaries),
            Route("customers.create", "POST", "/v1/customers", "customer_write", self._create_customer),
            Route("customers.list", "GET", "/v1/customers", "customer_read", self._list_customers),
            Route("customers.retrieve", "GET", customer, "customer_read", self._retrieve_customer),
            Route("customers.update", "POST", customer, "customer_write", self._update_customer),
            Route("customers.delete", "DELETE", customer, "customer_write", self._delete_customer),
            *billing_routes(self._account),
            *V2Endpoints(self._account).routes(),
            *event_routes(self._account),
            *destination_routes(self._account),
        ]

    def unrecognised(self) -> Route:
        """What answers any other path."""
        return Route("unrecognised", "*", "/{path:.*}", "billing_meter_read", _refuse_path)

    def event_body(self, sequence: int, *, livemode: bool) -> bytes:
        """The answer to the call that created a meter event."""
        event = self._account.events[sequence]
        meter = self._account.meters.by_event_name(event.event_name)
        assert meter is not None, "meters are never removed while their events are kept"
        return orjson.dumps(event_object(event, meter, livemode=livemode))

    # Meter events

    def _create_event(self, call: Call) -> Prepared:
        account = self._account
        submission = read_submission(call.parameters, account.meters, account.assumptions, call.now_ms, call.api_version)

        def commit(now_ms: int) -> Result:
            event = account.accept(submission, now_ms, call.idempotency_key or "")
            return Result(self.event_body(event.sequence, livemode=call.livemode), event.sequence)

        return Prepared(commit, ((submission.event_name, submission.customer),))

    def _cancel(self, call: Call) -> Prepared:
        event_name, identifier = read_cancellation(call.parameters)
        return Prepared(lambda now_ms: json_result(adjustment_object(self._account.cancel(event_name, identifier, now_ms), livemode=call.livemode)))

    # Meters

    def _create_meter(self, call: Call) -> Prepared:
        draft = meters.read_draft(call.parameters)
        return Prepared(lambda now_ms: json_result(meter_object(self._account.create_meter(draft, livemode=call.livemode, now_ms=now_ms))))

    def _list_meters(self, call: Call) -> Prepared:
        status = call.parameters.optional_choice("status", ("active", "inactive"))
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(_: int) -> Result:
            wanted = (meter for meter in self._account.meters if status is None or meter.active == (status == "active"))
            return json_result(list_object(_newest_first(meter_object(meter) for meter in wanted), page, call.path))

        return Prepared(commit)

    def _retrieve_meter(self, call: Call) -> Prepared:
        take_usage(call.parameters)
        call.parameters.finish()
        return Prepared(lambda _: json_result(meter_object(self._account.meters.get(call.identity))))

    def _update_meter(self, call: Call) -> Prepared:
        display_name = call.parameters.optional_text("display_name", length_max=250)
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(meter_object(self._account.rename_meter(call.identity, display_name, now_ms))))

    def _deactivate_meter(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(meter_object(self._account.deactivate_meter(call.identity, now_ms))))

    def _reactivate_meter(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(meter_object(self._account.reactivate_meter(call.identity, now_ms))))

    def _list_summaries(self, call: Call) -> Prepared:
        query = read_query(call.parameters)
        account = self._account

        def commit(now_ms: int) -> Result:
            account.advance(now_ms)
            meter = account.meters.get(call.identity)
            if not account.customers.known(query.customer):
                raise no_such("customer", query.customer, "customer", status=400)
            rows = summarise(meter, query, account.books.visible((meter.event_name, query.customer)), account.assumptions)
            return json_result(list_object(rows, query.page, call.path))

        return Prepared(commit)

    # Customers

    def _create_customer(self, call: Call) -> Prepared:
        draft = customers.read_draft(call.parameters)
        return Prepared(lambda now_ms: json_result(customer_object(self._account.create_customer(draft, livemode=call.livemode, now_ms=now_ms))))

    def _list_customers(self, call: Call) -> Prepared:
        email = call.parameters.optional_text("email", length_max=512)
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(_: int) -> Result:
            wanted = (customer for customer in self._account.customers if email is None or customer.email == email)
            return json_result(list_object(_newest_first(customer_object(customer) for customer in wanted), page, call.path))

        return Prepared(commit)

    def _retrieve_customer(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda _: json_result(customer_object(self._account.customers.get(call.identity))))

    def _update_customer(self, call: Call) -> Prepared:
        change = customers.read_changes(call.parameters)
        return Prepared(lambda now_ms: json_result(customer_object(self._account.change_customer(call.identity, change, now_ms))))

    def _delete_customer(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(customer_object(self._account.delete_customer(call.identity, now_ms))))


def _refuse_path(call: Call) -> Prepared:
    message = f"Unrecognized request URL ({call.method}: {call.path[:200]}). If you are trying to list objects, remove the trailing slash."
    raise ApiError(404, message, outcome="unrecognised")


def _newest_first(objects: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    return list(objects)[::-1]
