"""Answers to foreign requests, in a form that their senders understand.

A sender that cannot read what became of each record learns one thing: that it need not send the request again. So 2xx means that every record is
durable: as an event, or as a dead letter.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web

from ingest.foreign.foreign_bodies import PROTOBUF
from ingest.foreign.otlp_protobuf import partial_success
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import RETRY_AFTER_SECONDS, refusals_of, refused_in_part
from ingest.requests.bodies import Rejected
from ingest.requests.request_ids import HEADER, RequestId

_TEXT_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class ForeignOutcome:
    """What became of a request's records. `refused` are in no topic; `set_aside` are dead letters."""

    accepted: int
    left_out: int
    set_aside: Sequence[Rejected]
    refused: Sequence[Rejected]
    unknown_usage: Mapping[str, int]
    in_protobuf: bool


def answered_foreign(outcome: ForeignOutcome, answer: str, request_id: RequestId) -> web.Response:
    """Answer a request whose fate is known."""
    return _ANSWERS[answer](outcome, request_id)


def outcome_unknown() -> RequestRefused:
    """Kafka has not acknowledged everything in time."""
    detail = "Kafka has not acknowledged in time; send the request again as it is: what arrived counts once"
    return RequestRefused(Refusal.OUTCOME_UNKNOWN, detail, retry_after=RETRY_AFTER_SECONDS)


def in_their_words(refusal: RequestRefused) -> RequestRefused:
    """Some senders drop what is answered with 429, and all of them repeat what is answered with 503."""
    if refusal.refusal is Refusal.RATE_LIMITED:
        return RequestRefused(Refusal.RATE_LIMITED, refusal.detail, retry_after=refusal.retry_after, status=Refusal.OVERLOADED.status)
    return refusal


def _counts(outcome: ForeignOutcome, request_id: RequestId) -> web.Response:
    if outcome.refused:
        return _partly(outcome, request_id)
    body: dict[str, Any] = {
        "accepted": outcome.accepted,
        "left_out": outcome.left_out,
        "set_aside": len(outcome.set_aside),
        "results": refusals_of(outcome.set_aside, status="set_aside"),
    }
    if outcome.unknown_usage:
        body["unknown_usage"] = outcome.unknown_usage
    return web.Response(status=202, body=orjson.dumps(body), content_type="application/json", headers={HEADER: request_id.text})


def _empty(outcome: ForeignOutcome, request_id: RequestId) -> web.Response:
    if outcome.refused:
        return _partly(outcome, request_id)
    return web.Response(status=204, headers={HEADER: request_id.text})


def _partly(outcome: ForeignOutcome, request_id: RequestId) -> web.Response:
    return refused_in_part(outcome.accepted + len(outcome.set_aside), outcome.refused, request_id)


def _otlp(outcome: ForeignOutcome, request_id: RequestId) -> web.Response:
    """200 even if spans were refused: a partial success is not repeated. In the encoding of the request."""
    refused = len(outcome.refused)
    text = f"{outcome.refused[0].field}: {outcome.refused[0].detail}"[:_TEXT_CHARS] if outcome.refused else ""
    if outcome.in_protobuf:
        return web.Response(body=partial_success(refused, text), content_type=PROTOBUF, headers={HEADER: request_id.text})
    body = {"partialSuccess": {"rejectedSpans": str(refused), "errorMessage": text}} if refused else {}
    return web.Response(body=orjson.dumps(body), content_type="application/json", headers={HEADER: request_id.text})


_ANSWERS: Final[Mapping[str, Callable[[ForeignOutcome, RequestId], web.Response]]] = {"counts": _counts, "empty": _empty, "otlp": _otlp}
