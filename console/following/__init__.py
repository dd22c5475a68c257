"""Reads the topics to their ends again and again, folds what is new and hands it to the store. It commits no offsets and writes no topic.

Read: store_thread, log_beginnings, spoken_search, tally_follower, ledger_follower, letter_follower, pipeline_view, log_following, price_following.
"""
