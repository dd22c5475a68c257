"""Whatever a tenant sends, the bills of the others are what they would be without it: through the gateway, and straight into Kafka."""

from collections.abc import Callable, Sequence
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from aggregator.ids.identities import Identities
from ingest.requests import intake
from tests.support.tenant_strategies import TENANT_POSTS, TENANT_WRITES, scripts
from tests.support.tenants import Posted, Step, Written, bills

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def is_fair(script: Sequence[Step]) -> bool:
    return bills(script, without_tenant=False) == bills(script, without_tenant=True)


@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
@given(scripts(TENANT_POSTS))
def test_what_a_key_sends_changes_nobody_elses_bill(script: list[Step]) -> None:
    assert bills(script, without_tenant=False) == bills(script, without_tenant=True)


@settings(max_examples=80, deadline=None, suppress_health_check=SLOW)
@given(scripts(TENANT_WRITES))
def test_what_a_producer_writes_changes_nobody_elses_bill(script: list[Step]) -> None:
    assert bills(script, without_tenant=False) == bills(script, without_tenant=True)


def _no_customer(_self: Identities, _customer: str) -> bytes:
    return bytes(16)


def _held_nobody_back(*_: object) -> None:
    return


@pytest.mark.parametrize(
    ("sends", "owner", "name", "wrong"),
    [
        (TENANT_POSTS, Identities, "number", _no_customer),
        (TENANT_WRITES, Identities, "number", _no_customer),
        (TENANT_POSTS, intake, "_hold_back", _held_nobody_back),
    ],
    ids=["key, identity without customer", "producer, identity without customer", "key that may send for everybody"],
)
def test_a_planted_bug_is_caught(sends: st.SearchStrategy[Posted | Written], owner: object, name: str, wrong: Callable[..., object]) -> None:
    with patch.object(owner, name, wrong):
        quick = settings(max_examples=400, deadline=None, suppress_health_check=SLOW, phases=[Phase.generate], database=None)
        found = find(scripts(sends), lambda script: not is_fair(script), settings=quick, random=Random(1))
    assert is_fair(found), "the difference is the bug's"
