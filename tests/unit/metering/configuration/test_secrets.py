import pickle

import pytest

from metering.configuration.secrets import MASK, Redactor, Secret


def test_a_secret_is_masked_wherever_it_is_printed() -> None:
    secret = Secret("hunter22")
    assert "hunter22" not in f"{secret} {secret!r} {[secret]} {secret!s}"
    assert secret.reveal() == "hunter22"
    assert secret == Secret("hunter22")
    assert secret != Secret("hunter23")
    assert secret != "hunter22"
    assert len({secret, Secret("hunter22")}) == 1


def test_a_secret_cannot_be_pickled() -> None:
    with pytest.raises(TypeError, match="clear text"):
        pickle.dumps(Secret("hunter22"))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("key sk_test_51Habc0 was refused", "51Habc0"),
        ("rk_live_Zz9", "Zz9"),
        ("signature with whsec_a1+B/=", "a1+B"),
        ("Authorization: Bearer abc.def-ghi", "abc.def"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("kafka://user:pa55@broker:9092", "pa55"),
        ("sasl_plain_password='pa 55'", "pa 55"),
        ('{"api_key": "abcdef", "n": 1}', "abcdef"),
        ("TAXIMETER_KAFKA_SASL_PASSWORD=abcdef x", "abcdef"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, hidden: str) -> None:
    redacted = Redactor().redact(text)
    assert hidden not in redacted
    assert MASK in redacted


def test_configured_secrets_are_masked_even_when_one_contains_another() -> None:
    redactor = Redactor([Secret("alpha"), Secret("alphabet-soup"), Secret("a.c"), Secret("abc")])
    assert redactor.redact("alphabet-soup and alpha; abc") == f"{MASK} and {MASK}; abc"


@pytest.mark.parametrize("text", ["customer cus_123 partition 4", "token counts: 12 input_tokens", "http://broker:9092/path", "a basic check"])
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert Redactor([Secret("zzzz")]).redact(text) == text
