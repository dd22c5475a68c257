"""The company of Stripe's guide: what its settings file says."""

from typing import Final

SETTINGS: Final = """
[[meters]]
event_name = "alpaca_ai_tokens"
display_name = "Alpaca AI tokens"
sum = ["input_tokens", "output_tokens"]
dimensions = ["model"]

[[products]]
key = "alpaca_ai"
name = "Alpaca AI usage"

[[prices]]
key = "alpaca_ai_tokens_monthly"
product = "alpaca_ai"
meter = "alpaca_ai_tokens"
currency = "usd"
interval = "month"
amount = "0.04"
package = 1000
round = "up"
"""
