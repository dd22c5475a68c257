"""What is sold: meters, products and prices of the settings file, made at Stripe by a plan that is shown first.

Read: pricing, card_prices, account, price_list, account_reading, plan, plan_text, apply.
"""
