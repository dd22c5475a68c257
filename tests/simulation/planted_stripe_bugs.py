"""Bugs put in on purpose where Stripe's replies are understood, and where calls are paced."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from reporter.sending.pacing import Pacer, _Climb
from reporter.sending.verdicts import Delivered, Refused, Reply, Verdict, classify
from tests.simulation import lying_stripe


@contextmanager
def _understood(wrongly: Callable[[Reply], Verdict | None]) -> Iterator[None]:
    with patch.object(lying_stripe, "classify", lambda reply: wrongly(reply) or classify(reply)):
        yield


def a_lasting_409_is_a_refusal() -> AbstractContextManager[None]:
    """A lock that is held for long is taken for what Stripe thinks of the meter event."""
    return _understood(lambda reply: Refused("lock_timeout", "") if reply.code == "lock_timeout" else None)


def a_key_in_use_means_that_stripe_has_it() -> AbstractContextManager[None]:
    """Stripe is still at work on an earlier attempt, and how that ends is not waited for."""
    return _understood(lambda reply: Delivered(duplicate=True) if reply.code == "idempotency_key_in_use" else None)


def any_200_is_from_stripe() -> AbstractContextManager[None]:
    """What a proxy answers is taken for Stripe's word."""
    return _understood(lambda reply: classify(replace(reply, recognised=True)) if reply.status == 200 else None)


@contextmanager
def a_single_429_halves_the_pace() -> Iterator[None]:
    """Refusals that have nothing to do with the rate lower it all the same."""

    def on_rate_limited(self: Pacer, now: float, *, began: float) -> None:
        assert began <= now
        self._rate = self._within(self._rate / 2)
        self._climb = _Climb(self._rate)

    with patch.object(Pacer, "on_rate_limited", on_rate_limited):
        yield


PLANTED_AT_STRIPE: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        a_lasting_409_is_a_refusal,
        a_key_in_use_means_that_stripe_has_it,
        any_200_is_from_stripe,
        a_single_429_halves_the_pace,
    )
}
