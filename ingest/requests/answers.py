"""The answers to requests. Every answer has a JSON body of the same form.

    {"accepted": 2, "rejected": 1, "unknown": 0,
     "results": [{"index": 1, "id": "r-2", "status": "rejected", "reason": "negative", "field": "usage.input_tokens", "detail": "..."}],
     "error": {"reason": ..., "field": ..., "detail": ...}}

Where accepted events have quantities of usage fields that nobody knows, `unknown_usage` has the units of each: they are not billed.

Where there is an `error`, the members of RFC 9457 say the same in its words: `type`, `title`, `status`, `detail`, `instance`.

`results` names the events that were not accepted, in the order of the request. Status 202: all events are in Kafka. 207: some are; the others
were refused, and will be refused again. 400: all were refused (403 if the key may not send for their customers). 503: nobody knows whether the
`unknown` events arrived; send the request again with the same ids. Every status from 400 on has an `error`.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import orjson
from aiohttp import web

from ingest.publishing.pending_requests import PendingRequest
from ingest.refusals import OF_KEYS, Refusal, RequestRefused
from ingest.requests.batch_bodies import ReadBatches
from ingest.requests.bodies import ReadEvents, Rejected
from ingest.requests.request_columns import RequestPart
from ingest.requests.request_ids import HEADER, NO_REQUEST, RequestId

RETRY_AFTER_SECONDS = 2.0
NOTHING_UNKNOWN: Final[Mapping[str, int]] = MappingProxyType({})
NOTHING_MORE: Final[Mapping[str, Any]] = MappingProxyType({})
_OF_BATCHES: Final = OF_KEYS | {Refusal.FOREIGN_EMITTER.reason}
_JSON = "application/json"
_ENDS = frozenset({Refusal.SLOW_BODY, Refusal.BROKEN_BODY, Refusal.BODY_TOO_LARGE})


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """How many events of a request were accepted, were rejected, or have an unknown fate."""

    accepted: int
    rejected: int
    unknown: int


def refused(refusal: RequestRefused, request_id: RequestId = NO_REQUEST) -> web.Response:
    """Answer a request that is refused as a whole."""
    error = {"reason": refusal.refusal.reason, "field": refusal.field, "detail": refusal.detail}
    response = _response(refusal.status, AnswerCounts(0, 0, 0), [], error, refusal.retry_after, request_id=request_id)
    if refusal.refusal in {Refusal.UNAUTHORIZED, Refusal.KEY_EXPIRED}:
        response.headers["WWW-Authenticate"] = 'Bearer realm="taximeter"'
    elif refusal.allowed:
        response.headers["Allow"] = ", ".join(refusal.allowed)
    if refusal.refusal in _ENDS:
        # The rest of the body must not be read as the next request.
        response.force_close()
    return response


def count_events(read: ReadEvents, pending: PendingRequest) -> AnswerCounts:
    """Count the events of a settled request by how they ended."""
    unknown = 0 if pending.all_acknowledged else sum(len(places) for _, places in _unknown_places(read, pending))
    return AnswerCounts(read.count - len(read.rejected) - unknown, len(read.rejected), unknown)


def answered(
    read: ReadEvents,
    pending: PendingRequest,
    counts: AnswerCounts,
    request_id: RequestId = NO_REQUEST,
    *,
    unknown_usage: Mapping[str, int] = NOTHING_UNKNOWN,
) -> web.Response:
    """Answer a request whose events were judged one by one. `unknown_usage`: units of accepted events that are not billed, by usage field."""
    results: Iterable[dict[str, Any]] = map(_rejection, read.rejected)
    if counts.unknown:
        results = sorted(chain(results, _unknown(read, pending)), key=lambda result: result["index"])
        detail = "Kafka has not acknowledged in time; the events named unknown may or may not have arrived: send them again, with the same ids"
        error: dict[str, Any] | None = {"reason": Refusal.OUTCOME_UNKNOWN.reason, "field": "", "detail": detail}
        return _response(Refusal.OUTCOME_UNKNOWN.status, counts, list(results), error, RETRY_AFTER_SECONDS, request_id=request_id)
    more = {"unknown_usage": unknown_usage} if unknown_usage else NOTHING_MORE
    if not counts.rejected:
        return _response(202, counts, [], None, None, request_id=request_id, more=more)
    if counts.accepted:
        return _response(207, counts, list(results), None, None, request_id=request_id, more=more)
    first = read.rejected[0]
    forbidden = all(rejected.reason in OF_KEYS for rejected in read.rejected)
    error = {"reason": first.reason, "field": first.field, "detail": first.detail}
    return _response(Refusal.FORBIDDEN.status if forbidden else 400, counts, list(results), error, None, request_id=request_id)


def answered_batches(read: ReadBatches, unknown: Collection[int], partitions: int, request_id: RequestId) -> web.Response:
    """Answer a request whose batches were judged one by one; `unknown` has the lines of those that Kafka has not acknowledged.

    The counts are of batches, and `partitions` says how many there are: an emitter that knows another number has to ask again.
    """
    results: list[dict[str, Any]] = [
        {"index": refused.index, "id": None, "status": "rejected", "reason": refused.reason, "field": refused.field, "detail": refused.detail}
        for refused in read.refused
    ]
    counts = AnswerCounts(len(read.accepted) - len(unknown), len(read.refused), len(unknown))
    status, error = 207 if read.refused else 202, None
    if unknown:
        reason = Refusal.OUTCOME_UNKNOWN.reason
        results += [{"index": index, "id": None, "status": "unknown", "reason": reason, "field": "", "detail": ""} for index in unknown]
        results.sort(key=lambda result: result["index"])
        status, error = (
            Refusal.OUTCOME_UNKNOWN.status,
            {"reason": reason, "field": "", "detail": "Kafka has not acknowledged in time: send them again"},
        )
    elif not read.accepted:
        first = read.refused[0]
        forbidden = all(refused.reason in _OF_BATCHES for refused in read.refused)
        status, error = Refusal.FORBIDDEN.status if forbidden else 400, {"reason": first.reason, "field": first.field, "detail": first.detail}
    retry_after = RETRY_AFTER_SECONDS if unknown else None
    return _response(status, counts, results, error, retry_after, request_id=request_id, more={"partitions": partitions})


def refused_in_part(accepted: int, rejected: Sequence[Rejected], request_id: RequestId) -> web.Response:
    """Say with an error that some of a request was refused, to a sender that takes every 2xx for success of the whole."""
    first = rejected[0]
    status = Refusal.FORBIDDEN.status if all(each.reason in OF_KEYS for each in rejected) else 400
    error = {"reason": first.reason, "field": first.field, "detail": first.detail}
    return _response(status, AnswerCounts(accepted, len(rejected), 0), refusals_of(rejected), error, None, request_id=request_id)


def refusals_of(rejected: Iterable[Rejected], *, status: str = "rejected") -> list[dict[str, Any]]:
    """What `results` says of events that are not accepted."""
    return [_rejection(each) | {"status": status} for each in rejected]


def _rejection(rejected: Rejected) -> dict[str, Any]:
    return {
        "index": rejected.index,
        "id": rejected.event_id,
        "status": "rejected",
        "reason": rejected.reason,
        "field": rejected.field,
        "detail": rejected.detail,
    }


def _unknown(read: ReadEvents, pending: PendingRequest) -> Iterator[dict[str, Any]]:
    for part, places in _unknown_places(read, pending):
        for place in places:
            index, event_id = part.indexes[place], part.ids[place]
            yield {"index": index, "id": event_id, "status": "unknown", "reason": Refusal.OUTCOME_UNKNOWN.reason, "field": "", "detail": ""}


def _unknown_places(read: ReadEvents, pending: PendingRequest) -> Iterator[tuple[RequestPart, Sequence[int]]]:
    for number, part in enumerate(read.accepted):
        yield part, pending.unknown(number, len(part.ids))


def _problem(status: int, error: dict[str, Any], request_id: RequestId) -> dict[str, Any]:
    """The members of RFC 9457. The media type stays application/json: clients ask for it, and the body says more than a problem."""
    reason: str = error["reason"]
    found = {"type": f"urn:taximeter:problem:{reason}", "title": reason.replace("_", " ").capitalize(), "status": status, "detail": error["detail"]}
    if not request_id.text:
        return found
    found["instance"] = f"urn:taximeter:request:{request_id.text}"
    return found if request_id.trace is None else found | {"trace_id": request_id.trace.trace_id}


def _response(
    status: int,
    counts: AnswerCounts,
    results: list[dict[str, Any]],
    error: dict[str, Any] | None,
    retry_after: float | None,
    *,
    request_id: RequestId,
    more: Mapping[str, Any] = NOTHING_MORE,
) -> web.Response:
    body: dict[str, Any] = {"accepted": counts.accepted, "rejected": counts.rejected, "unknown": counts.unknown, "results": results, **more}
    if error is not None:
        body["error"] = error
        body |= _problem(status, error, request_id)
    response = web.Response(status=status, body=orjson.dumps(body), content_type=_JSON)
    if request_id.text:
        response.headers[HEADER] = request_id.text
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    return response
