"""One HTTP request, from its bytes to its answer.

Read, in the order in which a request passes: server, gate, handler, bodies, request_columns, batches_handler, batch_bodies, answers.
"""
