"""Keys: made once, checked alike whatever is wrong with them, and never shown again."""

import re
from pathlib import Path

import pytest

from ingest.admission.api_keys import ApiKeys
from metering.configuration.key_file import BadKeysFile, create_key, parse_keys, read_keys


def test_a_created_key_identifies_its_tenant_and_the_file_does_not_hold_it() -> None:
    created = create_key(tenant='a "quoted" tenant', customers=("cus_1", "cus_2"), events_per_second=50)
    secret = created.token.split("_")[2]
    assert secret not in created.entry
    key = ApiKeys(parse_keys(created.entry)).identify(f"Bearer {created.token}")
    assert key is not None
    assert (key.tenant, key.customers, key.events_per_second) == ('a "quoted" tenant', frozenset({"cus_1", "cus_2"}), 50)


def test_several_keys_of_a_tenant_are_valid_at_once() -> None:
    first, second = create_key(tenant="acme"), create_key(tenant="acme")
    keys = ApiKeys(parse_keys(first.entry + second.entry))
    assert keys.identify(f"bearer {first.token}") is not None
    assert keys.identify(f"Bearer {second.token}") is not None


@pytest.mark.parametrize(
    "header",
    [
        "",
        "{token}",
        "Basic {token}",
        "Bearer {token}0",
        "Bearer {shortened}",
        "Bearer tmk_{key_id}_" + "0" * 64,
        "Bearer tmk_" + "0" * 12 + "_{secret}",
        "Bearer {key_id}_{secret}",
        "Bearer tmk_",
        "Bearer \udcff",
    ],
)
def test_anything_else_identifies_nobody(header: str) -> None:
    created = create_key(tenant="acme")
    _, key_id, secret = created.token.split("_")
    given = header.format(token=created.token, shortened=created.token[:-1], key_id=key_id, secret=secret)
    assert ApiKeys(parse_keys(created.entry)).identify(given) is None


def test_replacing_keys_revokes_and_keeps_the_rate_of_those_that_stay() -> None:
    stays, goes = create_key(tenant="acme", events_per_second=10), create_key(tenant="acme")
    keys = ApiKeys(parse_keys(stays.entry + goes.entry))
    key = keys.identify(f"Bearer {stays.token}")
    assert key is not None
    rate = keys.rate_of(key, 0.0)
    assert rate is not None
    rate.spend(100, 0.0)
    keys.replace(parse_keys(stays.entry))
    assert keys.identify(f"Bearer {goes.token}") is None
    assert keys.rate_of(key, 0.0) is rate
    keys.replace(parse_keys(stays.entry.replace("events_per_second = 10", "events_per_second = 11")))
    changed = keys.identify(f"Bearer {stays.token}")
    assert changed is not None
    assert keys.rate_of(changed, 0.0) is not rate


def test_the_limits_of_a_key_stand_in_the_file_and_are_read_back() -> None:
    created = create_key(tenant="t", name="acme-eu.1", sources=("a", "b/c d"), expires_ms=1_900_000_000_000)
    assert "expires = 2030-03-17T17:46:40Z" in created.entry
    (key,) = parse_keys(created.entry).values()
    assert (key.name, key.sources, key.customers, key.expires_ms) == ("acme-eu.1", frozenset({"a", "b/c d"}), None, 1_900_000_000_000)
    assert [key.has_expired(1_900_000_000_000 + later) for later in (-1, 0, 1)] == [False, True, True]


def test_a_file_of_an_earlier_version_is_read_as_it_was() -> None:
    text = f'[[keys]]\nid = "0123456789ab"\nsecret_sha256 = "{"ab" * 32}"\ntenant = "t"\n'
    (key,) = parse_keys(text).values()
    assert (key.name, key.customers, key.sources, key.expires_ms, key.has_expired(10**15)) == (key.key_id, None, None, None, False)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('name = "Acme EU"', "keys[1]: name must be"),
        ("sources = []", "keys[1]: sources must be a list of texts"),
        ("expires = 2027-03-01", "keys[1]: expires must be a time with a zone"),
        ("expires = 2027-03-01T00:00:00", "keys[1]: expires must be a time with a zone"),
        ('expires = "2027-03-01T00:00:00Z"', "keys[1]: expires must be a time with a zone"),
    ],
)
def test_a_limit_that_cannot_be_read_makes_the_file_unusable(line: str, said: str) -> None:
    with pytest.raises(BadKeysFile, match=re.escape(said)):
        parse_keys(f"{create_key(tenant='t').entry}{line}\n")


def test_two_keys_have_no_name_in_common() -> None:
    first = create_key(tenant="t", name="acme")
    taken = create_key(tenant="t", name=next(iter(parse_keys(first.entry))))
    with pytest.raises(BadKeysFile, match="name acme is used twice"):
        parse_keys(first.entry + create_key(tenant="t", name="acme").entry)
    parse_keys(first.entry + taken.entry)  # the id of a key that has a name is nobody's label


def test_keys_that_expire_are_told_the_earliest_first() -> None:
    created = [create_key(tenant="t", name=name, expires_ms=at) for name, at in (("late", 3_000), ("never", None), ("soon", 2_000))]
    assert list(ApiKeys(parse_keys("".join(key.entry for key in created))).expiring()) == [("soon", 2_000), ("late", 3_000)]


def test_a_key_without_a_limit_has_no_rate() -> None:
    created = create_key(tenant="acme")
    keys = ApiKeys(parse_keys(created.entry))
    key = keys.identify(f"Bearer {created.token}")
    assert key is not None
    assert keys.rate_of(key, 0.0) is None


def test_every_fault_of_a_file_is_named_and_no_digest_is_shown() -> None:
    digest = "ab" * 32
    text = (
        f'[[keys]]\nid = "short"\nsecret_sha256 = "{digest}"\ntenant = "t"\n'
        f'[[keys]]\nid = "0123456789ab"\nsecret_sha256 = "{digest}x"\ntenant = ""\ncustomers = []\nevents_per_second = 0\ncolour = "red"\n'
        f'[[keys]]\nid = "0123456789ac"\nsecret_sha256 = "{digest}"\ntenant = "t"\n'
        f'[[keys]]\nid = "0123456789ac"\nsecret_sha256 = "{digest}"\ntenant = "t"\n'
    )
    with pytest.raises(BadKeysFile) as caught:
        parse_keys(text)
    problems = "\n".join(caught.value.problems)
    for word in (
        "keys[1]: id",
        "keys[2]: secret_sha256",
        "keys[2]: tenant",
        "customers",
        "events_per_second",
        "'colour'",
        "keys[4]: id 0123456789ac is used twice",
    ):
        assert word in problems
    assert digest not in problems


@pytest.mark.parametrize("text", ["", "keys = 3", "[[keys]]\nid = ", "[[keys]]\n[other]\n", "keys = [3]"])
def test_what_is_no_file_of_keys_is_refused(text: str) -> None:
    with pytest.raises(BadKeysFile):
        parse_keys(text)


def test_a_key_that_could_not_be_read_back_is_not_made() -> None:
    with pytest.raises(BadKeysFile):
        create_key(tenant="")
    with pytest.raises(BadKeysFile):
        create_key(tenant="t", events_per_second=0)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKeysFile, match=r"nowhere\.toml cannot be read"):
        read_keys(tmp_path / "nowhere.toml")
