"""What the quickstart sells, to whom, and the lines that a reader pastes to use some of it. Pure."""

from typing import Final

CUSTOMER: Final = "org_northwind"
SOURCE: Final = "quickstart"
PRICES: Final = ("alpaca-7b_input_month", "alpaca-7b_output_month")
KEY_SHOWN: Final = "tmk_..."

SETTINGS: Final = """\
[[rate_cards]]

[rate_cards.kinds]
input = {sum = ["input_tokens"]}
output = {sum = ["output_tokens"]}

[rate_cards.models]
alpaca-7b = true

[rate_cards.prices]
currency = "usd"
interval = "month"
per = 1_000_000

[rate_cards.prices.amounts]
alpaca-7b = {input = "2.50", output = "10.00"}
"""
"""The taximeter.toml of the quickstart: two meters of one model, with prices at which one event moves the bill by cents."""


def python_lines(url: str, key: str) -> str:
    """Three lines of Python that emit an event through the gateway at `url`."""
    return f"""\
from taximeter_emitter import Emitter

emitter = Emitter("{url}", api_key="{key}", source="{SOURCE}")
emitter.emit(customer="{CUSTOMER}", usage={{"input_tokens": 81_200, "output_tokens": 16_400}}, dimensions={{"model": "alpaca-7b"}})"""


def curl_line(url: str, key: str) -> str:
    """One line for a shell that sends an event, with an id: sent again, it counts once."""
    event = (
        f'{{"id": "q-1", "source": "{SOURCE}", "customer": "{CUSTOMER}", "usage": {{"input_tokens": 81200}}, "dimensions": {{"model": "alpaca-7b"}}}}'
    )
    return f"curl {url}/v1/events -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{event}'"
