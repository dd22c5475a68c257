"""A page of parts, of which none can spoil the others."""

import pytest

from metering.process.status_page import StatusPage


def test_every_part_is_shown_and_one_that_fails_hides_no_other() -> None:
    page = StatusPage()
    page.provide("sums", lambda: {"a": 1})
    page.provide("broken", lambda: 1 // 0)
    assert page.as_json() == {"sums": {"a": 1}, "broken": "cannot be told: ZeroDivisionError"}


def test_a_name_is_used_once() -> None:
    page = StatusPage()
    page.provide("sums", dict)
    with pytest.raises(ValueError, match="sums"):
        page.provide("sums", dict)
