"""How large a run is, and which faults may happen in it: together with the seed, all that a run depends on."""

from dataclasses import dataclass

from tests.simulation.world import Draws

FAULTS = (
    "append",  # acknowledgements are lost, appends land late, twice, or never
    "read",  # the broker does not answer a reader
    "call",  # Stripe answers with errors, late, or not at all
    "outage",  # nobody answers at Stripe, or the key is refused, for up to days
    "kill",
    "freeze",
    "rebalance",
    "jump",  # the clock leaps
    "elect",  # another broker leads a partition
    "producer",  # emitters and gateways crash
    "operator",  # somebody corrects meter events
    "archive",  # ids move to archives and snapshots, which are stale or lost
)


@dataclass(frozen=True, slots=True)
class Scope:
    """`events` are emitted at most (one request of a client may add a few), in `steps` steps with faults; `off`: faults that do not happen."""

    events: int
    steps: int
    off: frozenset[str] = frozenset()

    def __str__(self) -> str:
        """As the command line takes it: events:steps:fault,fault."""
        return ":".join([str(self.events), str(self.steps), *([",".join(sorted(self.off))] if self.off else [])])


def scope_from(text: str) -> Scope:
    """The scope that `str` gave. Raises ValueError."""
    events, steps, *off = text.split(":")
    names = frozenset(name for part in off for name in part.split(","))
    if unknown := names - set(FAULTS):
        raise ValueError(f"faults: {', '.join(FAULTS)}; not {', '.join(sorted(unknown))}")
    return Scope(int(events), int(steps), names)


def drawn_scope(rng: Draws) -> Scope:
    """Half of the worlds are small and short, because most of what can go wrong goes wrong in a few steps; many are small and long, for what needs
    several faults one after the other; and a few are large.
    """
    dice = rng.random()
    if dice < 0.55:
        return Scope(rng.between(2, 12), rng.between(30, 100))
    if dice < 0.97:
        return Scope(rng.between(4, 25), rng.between(120, 450))
    return Scope(rng.between(40, 150), rng.between(160, 600))
