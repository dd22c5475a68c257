"""The endpoints of v2 for metered usage: sessions, the stream, synchronous events, adjustments."""

from typing import Final

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.http.rfc3339 import rfc3339
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Result, Route, json_result
from taximeter_sandbox.stripe.metering.adjustments import read_cancellation
from taximeter_sandbox.stripe.metering.meter_events import Submission
from taximeter_sandbox.stripe.metering.stream import read_event, read_stream, synchronous_refusal, v2_duplicate, v2_event_object
from taximeter_sandbox.stripe.metering.stream_sessions import session_object

METER_EVENTS: Final = "billing_meter_event_write"


class V2Endpoints:
    """The v2 endpoints of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("v2.meter_event_session.create", "POST", "/v2/billing/meter_event_session", METER_EVENTS, self._create_session),
            Route("v2.meter_event_stream.create", "POST", "/v2/billing/meter_event_stream", METER_EVENTS, self._stream, traffic="stream"),
            Route("v2.meter_events.create", "POST", "/v2/billing/meter_events", METER_EVENTS, self._create_event, traffic="meter_events"),
            Route("v2.meter_event_adjustments.create", "POST", "/v2/billing/meter_event_adjustments", METER_EVENTS, self._cancel),
        ]

    def _create_session(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(session_object(self._account.open_session(livemode=call.livemode, now_ms=now_ms))))

    def _stream(self, call: Call) -> Prepared:
        account, assumptions = self._account, self._account.assumptions
        submissions, error = read_stream(call.parameters, account.meters, assumptions, call.now_ms)
        if error is not None and assumptions.stream_refusals == "whole":
            raise error

        def commit(now_ms: int) -> Result:
            _take(account, submissions, now_ms, call.idempotency_key or "")
            if error is not None:
                raise error
            return Result(b"{}")

        lanes = {(submission.event_name, submission.customer) for submission in submissions}
        return Prepared(commit, tuple(lanes) if assumptions.stream_concurrency == "conflict" else ())

    def _create_event(self, call: Call) -> Prepared:
        account = self._account
        submission = read_event(call.parameters, account.meters, account.assumptions, call.now_ms)
        if submission.problem is not None:
            raise synchronous_refusal(submission.problem)

        def commit(now_ms: int) -> Result:
            if account.has(submission, now_ms):
                account.stats.duplicates += 1
                raise v2_duplicate()
            event = account.take(submission, now_ms, call.idempotency_key or "")
            return json_result(v2_event_object(event, account.meters.by_event_name(event.event_name), livemode=call.livemode))

        return Prepared(commit, ((submission.event_name, submission.customer),))

    def _cancel(self, call: Call) -> Prepared:
        event_name, identifier = read_cancellation(call.parameters)

        def commit(now_ms: int) -> Result:
            adjustment = self._account.cancel(event_name, identifier, now_ms)
            return json_result(
                {
                    "object": "v2.billing.meter_event_adjustment",
                    "id": f"mtr_event_adj_{self._account.identities.token(24)}",
                    "cancel": {"identifier": adjustment.identifier},
                    "created": rfc3339(now_ms),
                    "event_name": adjustment.event_name,
                    "livemode": call.livemode,
                    "status": adjustment.status,
                    "type": "cancel",
                }
            )

        return Prepared(commit)


def _take(account: Account, submissions: list[Submission], now_ms: int, request_key: str) -> None:
    """Take the events of one request, duplicates apart. Raises ApiError for a duplicate where the assumptions say so."""
    assumptions = account.assumptions
    if assumptions.stream_duplicates == "refused" and assumptions.stream_refusals == "whole":
        named = [submission.identifier for submission in submissions if submission.identifier is not None]
        if len(set(named)) < len(named) or any(account.has(submission, now_ms) for submission in submissions):
            raise _counted_duplicate(account)
    for submission in submissions:
        if not account.has(submission, now_ms):
            account.take(submission, now_ms, request_key)
        elif assumptions.stream_duplicates == "refused":
            raise _counted_duplicate(account)
        else:
            account.stats.duplicates += 1


def _counted_duplicate(account: Account) -> ApiError:
    account.stats.duplicates += 1
    return v2_duplicate()
