"""What the exit code of `taximeter` says; the same numbers mean the same in every command."""

from collections.abc import Mapping
from typing import Final

OK: Final = 0
FAILED: Final = 1
DISCREPANCY: Final = 2
USAGE: Final = 3
PRECONDITION: Final = 4
PENDING: Final = 5
INCOMPLETE: Final = 6
INTERRUPTED: Final = 130

MEANINGS: Final[Mapping[int, str]] = {
    OK: "All is well.",
    FAILED: "It failed.",
    DISCREPANCY: "Something does not agree: a mismatch, or a difference that is not explained.",
    USAGE: "Arguments or configuration are wrong.",
    PRECONDITION: "Kafka, a topic, a broker or the installation is not right.",
    PENDING: "Everything agrees so far, and something is still on its way.",
    INCOMPLETE: "Everything agrees, and something is set aside, lost or not proved.",
    INTERRUPTED: "It was interrupted.",
}
