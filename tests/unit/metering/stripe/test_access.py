import pytest

from metering.stripe.access import check_api_base, check_key


@pytest.mark.parametrize("key", ["sk_test_51Habc", "rk_test_x", "sk_org_test_abc"])
def test_a_test_key_is_for_everywhere_but_production(key: str) -> None:
    assert check_key(key, production=False) is None
    assert "bills nobody" in (check_key(key, production=True) or "")


@pytest.mark.parametrize("key", ["sk_live_51Habc", "rk_live_x", "sk_org_live_abc"])
def test_a_live_key_needs_production_to_be_set(key: str) -> None:
    assert "bills real customers" in (check_key(key, production=False) or "")
    assert check_key(key, production=True) is None


@pytest.mark.parametrize(
    "key", ["", "sk_test_", "pk_test_abc", "whsec_abc", "sk_test_abc\n", " sk_test_abc", "sk_test_a b", "abc", "sk_test_" + "x" * 600]
)
@pytest.mark.parametrize("production", [True, False])
def test_what_is_no_secret_key_is_refused_without_repeating_it(key: str, production: bool) -> None:
    problem = check_key(key, production=production)
    assert problem is not None
    assert not key.strip() or key not in problem.replace("sk_test_...", "")


@pytest.mark.parametrize(
    ("api_base", "production", "fits"),
    [
        ("https://api.stripe.com", True, True),
        ("https://api.stripe.com/", True, True),
        ("http://127.0.0.1:8080", False, True),
        ("http://stripe:8080", False, True),
        ("http://[::1]:8080", False, True),
        ("http://api.stripe.com", True, False),
        ("api.stripe.com", False, False),
        ("ftp://api.stripe.com", False, False),
        ("https://", False, False),
        ("https://api.stripe.com/v1", False, False),
        ("https://api.stripe.com?x=1", False, False),
        ("https://user:pw@api.stripe.com", False, False),
        ("https://api.stripe.com:99999", False, False),
        ("https://api.stripe.com:0", False, False),
        ("https://[::1", False, False),
    ],
)
def test_the_address_is_a_bare_origin_and_encrypted_in_production(api_base: str, production: bool, fits: bool) -> None:
    assert (check_api_base(api_base, production=production) is None) is fits
