import pytest

from billing.selling.customers import KEY_METADATA, NewCustomer


def test_an_ordinary_customer_has_no_problems() -> None:
    assert NewCustomer("Acme Ltd", "billing@acme.example", "acme", {"plan": "pro"}).problems() == []


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (NewCustomer("  "), "name"),
        (NewCustomer("Acme", "nowhere"), "e-mail"),
        (NewCustomer("Acme", metadata={"a" * 41: "b"}), "1 to 40"),
        (NewCustomer("Acme", metadata={"a": "b" * 501}), "1 to 500"),
        (NewCustomer("Acme", metadata={"a": ""}), "1 to 500"),
        (NewCustomer("Acme", key=""), KEY_METADATA),
        (NewCustomer("Acme", metadata={KEY_METADATA: "b"}), KEY_METADATA),
        (NewCustomer("Acme", metadata={str(number): "b" for number in range(50)}), "at most 49"),
    ],
)
def test_what_stripe_would_not_take_is_named(new: NewCustomer, said: str) -> None:
    [problem] = new.problems()

    assert said in problem


def test_all_problems_are_told_at_once() -> None:
    assert len(NewCustomer("", "nowhere", "", {"": "x"}).problems()) == 4
