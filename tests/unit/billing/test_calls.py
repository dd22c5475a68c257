"""Calls to Stripe that are tried again, and lists that are read to their end."""

from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import stripe
from taximeter_emitter.retry import RetryPolicy

from billing.calls import NotPossible, all_rows, calling, idempotency_key, is_temporary
from metering.stripe.client import PAGE_ROWS, ReplyTooLarge

TWICE = RetryPolicy(base_seconds=1.0, cap_seconds=1.0, attempts_max=3)


class NoTime:
    """A clock on which waiting takes no time."""

    def __init__(self) -> None:
        self.waited = 0

    def now_ms(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.waited += 1


class Failing:
    """A call that raises these errors, one after another, and then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def refusal(status: int, headers: dict[str, str] | None = None) -> stripe.APIError:
    return stripe.APIError("no", http_status=status, headers=headers or {})


@pytest.mark.parametrize(
    "error",
    [
        stripe.APIConnectionError("gone"),  # type: ignore[no-untyped-call]  # the library leaves it without annotations
        stripe.RateLimitError("slower", http_status=429),
        stripe.IdempotencyError("in use", http_status=409),
        refusal(500),
        refusal(502),
        aiohttp.ClientPayloadError("cut short"),
        TimeoutError(),
    ],
)
async def test_what_may_pass_is_tried_again(error: Exception) -> None:
    clock = NoTime()
    assert await calling(Failing(error, error), policy=TWICE, clock=clock) == "done"
    assert clock.waited == 2
    with pytest.raises(type(error)):
        await calling(Failing(error, error, error), policy=TWICE, clock=NoTime())


@pytest.mark.parametrize(
    "error",
    [
        stripe.InvalidRequestError("wrong", "name", http_status=400),  # type: ignore[no-untyped-call]  # and this one
        stripe.AuthenticationError("who", http_status=401),
        stripe.PermissionError("not you", http_status=403),
        stripe.IdempotencyError("other parameters", http_status=400),
        refusal(500, {"Stripe-Should-Retry": "false"}),
        ReplyTooLarge("long"),
        ValueError("ours"),
    ],
)
async def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    clock = NoTime()
    assert not is_temporary(error)
    with pytest.raises(type(error)):
        await calling(Failing(error), policy=TWICE, clock=clock)
    assert clock.waited == 0


def pages(rows: int) -> Any:
    """A list at Stripe with this many rows, by cursor."""
    ids = [f"id_{number}" for number in range(rows)]

    async def fetch(after: str | None) -> Any:
        start = 0 if after is None else ids.index(after) + 1
        page = ids[start : start + PAGE_ROWS]
        return SimpleNamespace(data=[SimpleNamespace(id=each) for each in page], has_more=start + PAGE_ROWS < rows)

    return fetch


@pytest.mark.parametrize("rows", [0, 1, PAGE_ROWS, PAGE_ROWS + 1, 3 * PAGE_ROWS])
async def test_a_list_is_read_to_its_end(rows: int) -> None:
    assert [row.id for row in await all_rows(pages(rows), what="rows", rows_max=1_000)] == [f"id_{number}" for number in range(rows)]


async def test_a_list_that_is_too_long_is_refused_by_name() -> None:
    with pytest.raises(NotPossible, match="more than 150 things"):
        await all_rows(pages(151), what="things", rows_max=150)
    assert len(await all_rows(pages(150), what="things", rows_max=150)) == 150


def test_an_idempotency_key_follows_from_its_parts_and_where_they_end() -> None:
    assert idempotency_key("price", "a", "b") == idempotency_key("price", "a", "b")
    assert idempotency_key("price", "a", "b") != idempotency_key("price", "ab", "")
    assert len(idempotency_key("price", "x" * 10_000)) < 255
