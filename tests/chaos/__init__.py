"""Chaos: the real services as processes on a real broker, broken at random, and the books compared afterwards.

Read: actions (what is broken, and how), run (one run from set-up to comparison), service (kill points and clock steps inside a process), proxy.
"""
