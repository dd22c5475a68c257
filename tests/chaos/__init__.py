"""Chaos: the real services as processes on a real broker, broken at random, and the books compared afterwards.

Read: brokers, cluster_network, actions and cluster_actions (what is broken, and how), run (one run from set-up to comparison), service (kill points
and clock steps inside a process), proxy, loads.
"""
