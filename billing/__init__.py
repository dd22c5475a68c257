"""Stripe's side of a bill: meters, products, prices, customers, subscriptions, usage and invoices, through the official library.

In: a `stripe.StripeClient` (metering.stripe.client makes a bounded one; your own does as well) and the settings file. Out: what Stripe has, as
small frozen records. Nothing here takes part in metering: the services run without it. The commands `taximeter stripe ...` are built on it.

What the settings file wants, made at Stripe; to do it again does nothing:

    import stripe

    from billing.catalogue.account_reading import read_account
    from billing.catalogue.apply import apply
    from billing.catalogue.plan import plan
    from billing.catalogue.plan_text import plan_lines
    from billing.catalogue.pricing import wanted_of

    async def set_up(client: stripe.StripeClient, document: dict[str, object]) -> None:
        wanted = wanted_of(document)  # the settings file, as tomllib gives it
        todo = plan(wanted, await read_account(client, wanted))
        for line in plan_lines(todo):
            print(line)
        await apply(client, todo)
"""
