"""What consumer group members ask, and the answers, for every version on the wire."""

from dataclasses import dataclass

from kio.schema.errors import ErrorCode


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What a member says when it joins; timeouts in seconds, ``protocols`` are (name, opaque metadata) in order of preference."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_s: float
    rebalance_timeout_s: float
    protocol_type: str
    protocols: tuple[tuple[str, bytes], ...]
    #: Whether the client's version knows the error that makes a new member join a second time with the id it was given.
    must_know_member_id: bool
    #: Whether the client's version understands that a leader may keep the assignment as it is.
    may_skip_assignment: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAnswer:
    """The outcome of a join; ``members`` is (member id, instance id, metadata) for the leader and empty for the others."""

    error: ErrorCode
    member_id: str
    generation: int = -1
    protocol_type: str | None = None
    protocol_name: str = ""
    leader: str = ""
    members: tuple[tuple[str, str | None, bytes], ...] = ()
    skip_assignment: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncAnswer:
    """The outcome of a sync: the member's assignment, opaque to the broker."""

    error: ErrorCode
    protocol_type: str | None = None
    protocol_name: str | None = None
    assignment: bytes = b""
