"""Who is billed for whom."""

import orjson
import pytest

from metering.folds.customer_links import CustomerLinks
from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.customer_link import CustomerLink, decode_link, encode_link


def link(customer: str, stripe_customer: str) -> CustomerLink:
    return CustomerLink(customer, stripe_customer, "contract", "ana", 7)


def folded(*links: CustomerLink | None, links_max: int = 100) -> CustomerLinks:
    found = CustomerLinks(links_max)
    for offset, each in enumerate(links):
        found.fold(offset, each)
    return found


def test_the_last_link_of_a_customer_holds() -> None:
    found = folded(link("org_a", "cus_1"), None, link("org_b", "cus_1"), link("org_a", "cus_2"))
    assert [found.of(customer) for customer in ("org_a", "org_b", "org_c")] == ["cus_2", "cus_1", None]
    assert set(found.customers_of("cus_1")) == {"cus_1", "org_b"}
    assert found.ever_linked == {"cus_1", "cus_2"}
    assert (len(found), found.next_offset) == (2, 4)


def test_an_id_that_stripe_gave_is_its_own_link_where_there_is_no_other() -> None:
    found = folded(link("cus_gone", "cus_new"))
    assert (found.of("cus_gone"), found.of("cus_1"), found.of("acct_1")) == ("cus_new", "cus_1", "acct_1")
    assert set(found.customers_of("cus_gone")) == set()
    found.fold(1, link("cus_gone", ""))
    assert (found.of("cus_gone"), set(found.customers_of("cus_new"))) == ("cus_gone", {"cus_new"})


def test_what_says_nothing_new_changes_nothing() -> None:
    found = folded(link("org_a", "cus_1"))
    before = found.changes
    for offset, each in enumerate((link("org_a", "cus_1"), None, link("org_b", "")), 1):
        found.fold(offset, each)
    assert found.changes == before
    found.fold(4, link("org_a", ""))
    assert (found.changes, found.of("org_a")) == (before + 1, None)


def test_beyond_the_bound_a_link_counts_for_nothing_and_a_known_one_can_change() -> None:
    found = folded(link("org_a", "cus_1"), link("org_b", "cus_1"), link("org_a", "cus_2"), links_max=1)
    assert (found.of("org_a"), found.of("org_b"), found.refused) == ("cus_2", None, 1)


def test_a_record_is_read_as_it_was_written() -> None:
    for each in (link("org_a", "cus_1"), link("größe", "")):
        assert decode_link(encode_link(each)) == each


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"{}",
        b'{"format":"customer-link/1"}',
        orjson.dumps({**orjson.loads(encode_link(link("", "cus_1")))}),
        orjson.dumps({**orjson.loads(encode_link(link("org_a", "cus_1"))), "stripe_customer": "not an id"}),
        orjson.dumps({**orjson.loads(encode_link(link("org_a", "cus_1"))), "customer": 7}),
        orjson.dumps({**orjson.loads(encode_link(link("org_a", "cus_1"))), "at": -1}),
    ],
)
def test_what_taximeter_did_not_write_counts_for_nobody(value: bytes | None) -> None:
    assert decode_link(value) is None


def test_a_format_of_a_later_release_is_not_passed_over() -> None:
    with pytest.raises(RecordCorrupt, match="customer-link/9"):
        decode_link(encode_link(link("org_a", "cus_1")).replace(b"link/1", b"link/9"))
