"""Identities of single events."""

from aggregator.ids.fingerprints import fingerprints_of
from aggregator.ids.identities import Identities


def identity_of(identities: Identities, customer: str, fingerprint: bytes) -> bytes:
    """As SeriesTable.identities makes that of each event."""
    return (fingerprints_of(fingerprint) ^ identities.numbers([customer])).tobytes()
