"""A rate card with prices, as a settings file has it."""

CARD = """
[[rate_cards]]
[rate_cards.kinds]
input = {sum = ["input_tokens"], less = ["cached_input_tokens"]}
cached_input = {sum = ["cached_input_tokens"]}
[rate_cards.models]
alpaca-7b = true
alpaca-70b = ["alpaca-70b", "alpaca-70b-*"]
[rate_cards.prices]
currency = "usd"
interval = "month"
per = 1_000_000
[rate_cards.prices.amounts]
alpaca-7b = {input = "0.20", cached_input = "0.05"}
alpaca-70b = {input = "0.90", cached_input = "0"}
"""
