"""What the exit code of `taximeter` says; the same numbers mean the same in every command."""

from typing import Final

OK: Final = 0
FAILED: Final = 1
DISCREPANCY: Final = 2  # something does not agree: a mismatch, or a difference that is not explained
USAGE: Final = 3  # arguments or configuration are wrong
PRECONDITION: Final = 4  # Kafka, a topic, a broker or the installation is not as it must be
PENDING: Final = 5  # all holds so far, and something is still on its way
INTERRUPTED: Final = 130
