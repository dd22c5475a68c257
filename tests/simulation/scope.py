"""How large a run is, and which faults may happen in it: together with the seed, all that a run depends on."""

from dataclasses import dataclass, replace

from tests.simulation.chance import Draws

FAULTS = (
    "append",  # acknowledgements are lost, appends land late, twice, or never
    "read",  # the broker does not answer a reader
    "call",  # Stripe answers with errors, late, or not at all
    "noise",  # Stripe refuses calls as too many, however few there are
    "transaction",  # producers write in transactions, some of which are aborted or stay open for long
    "outage",  # nobody answers at Stripe, or the key is refused, for up to days
    "kill",
    "freeze",
    "rebalance",
    "jump",  # the clock leaps
    "elect",  # another broker leads a partition
    "producer",  # emitters and gateways crash
    "operator",  # somebody corrects meter events
    "plan",  # somebody takes out what was counted
    "meters",  # somebody publishes other meters
    "latest",  # a meter tells the latest value
    "links",  # customers are billed to others at Stripe, and somebody changes to whom
    "retention",  # events are deleted, counted or not
    "crowd",  # emitters are forgotten, because there are too many
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


@dataclass(frozen=True, slots=True)
class Theme:
    """What a world is about: how many of whom there are, at most, and how bad it is.

    What a tuple of numbers lists is equally likely. `sizes` are scopes: up to which draw from 0 to 1, from and to how many events, and steps. Most
    of what can go wrong goes wrong in a few steps, among few; what needs several faults one after the other needs more steps, and a few are large.
    Worlds about Stripe or operators have one aggregator, so that the steps fall to those that send and correct.
    """

    name: str
    aggregators: tuple[int, ...]
    reporters: tuple[int, ...]
    operators: tuple[int, ...]
    adjusters: tuple[int, ...]
    archives: float  # how often ids are archived after a few
    stripe_faults: tuple[float, ...]
    chaos: tuple[float, ...]
    jumps: tuple[float, ...]
    sizes: tuple[tuple[float, tuple[int, int], tuple[int, int]], ...]


_SHORT = (2, 12), (15, 50)
_LONG = (4, 25), (60, 225)
_LARGE = (40, 150), (80, 300)
_ANY = Theme(
    "any",
    aggregators=(1, 1, 2, 2, 2, 3),
    reporters=(1, 1, 2, 2, 2, 3),
    operators=(0, 0, 0, 1),
    adjusters=(0, 0, 0, 0, 0, 0, 0, 1),
    archives=0.7,
    stripe_faults=(0.0, 0.1, 0.3, 0.6),
    chaos=(0.0, 0.03, 0.08, 0.15),
    jumps=(0.0, 0.01, 0.05),
    sizes=((0.56, *_SHORT), (0.98, *_LONG), (1.0, *_LARGE)),
)
_STRIPE = replace(
    _ANY,
    name="stripe",
    aggregators=(1,),
    stripe_faults=(0.3, 0.6),
    chaos=(0.05, 0.15),
    jumps=(0.02, 0.06),
    archives=0.1,
    sizes=((1.0, (2, 10), (60, 300)),),
)
_OPERATORS = replace(_STRIPE, name="operators", operators=(2,), adjusters=(0, 2))
THEMES = (_ANY, _ANY, _STRIPE, _OPERATORS)


def drawn_scope(rng: Draws, theme: Theme) -> Scope:
    """One of the theme's sizes."""
    dice = rng.random()
    _, events, steps = next(size for size in theme.sizes if dice < size[0])
    return Scope(rng.between(*events), rng.between(*steps))
