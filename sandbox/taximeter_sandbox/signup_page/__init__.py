"""A page on this machine on which a customer signs up and saves payment details: what a site of your own would do, in the small.

In: a name and an e-mail address from a form. Out: a customer and a subscription at Stripe, and a SetupIntent confirmed in the browser, by Stripe's
Payment Element, or, with a simulator, by a form that replaces it.
Never: listens beyond this machine, keeps anything, or takes a live key.
Read: server, visits; the page itself is in pages/.
"""
