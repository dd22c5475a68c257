"""Which call caused an event: effects of a call bear its idempotency key, what was due anyway does not."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Result, Route
from taximeter_sandbox.stripe.webhooks.event_log import Cause


def attributed(route: Route, account: Account) -> Route:
    """The route, whose calls are named as the cause of what they make happen. Meter events make nothing happen at once."""
    if route.method == "GET" or route.traffic != "ordinary":
        return route

    def prepare(call: Call) -> Prepared:
        prepared = route.prepare(call)

        def commit(now_ms: int) -> Result:
            account.advance(now_ms)
            with account.notifications.caused_by(Cause(call.request_id, call.idempotency_key)):
                return prepared.commit(now_ms)

        return prepared._replace(commit=commit)

    return route._replace(prepare=prepare)
