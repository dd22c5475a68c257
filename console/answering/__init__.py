"""Questions, and what the store answers. A question is checked before it is asked, and its faults name the parameter.

Read: usage_question, usage_answer, customer_answers, store_lists, events_behind.
"""
