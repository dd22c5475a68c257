"""What every broker that we can start offers, and how it says that it cannot."""

from typing import Protocol


class BrokerUnavailable(Exception):
    """This kind of broker cannot be had here, or did not start; the message says why in one line."""


class BrokerCannot(Exception):
    """This broker cannot be killed or restarted by us: it is somebody else's."""


class RunnableBroker(Protocol):
    """A broker to start and stop. One start and one stop each; between them any number of kills and restarts."""

    @property
    def name(self) -> str:
        """``embedded``, ``apache``, ``docker`` or ``external``."""

    def describe(self) -> str:
        """One line for people: kind, version, how it runs. Available before ``start``."""

    def start(self) -> str:
        """Start, wait until it answers, and return the bootstrap servers. Raises BrokerUnavailable. Blocks for up to a minute."""

    def stop(self) -> None:
        """Stop in order and remove what was made for it. Blocks for some seconds. Does nothing when it does not run."""

    def kill(self) -> None:
        """Kill with SIGKILL; data stays. Raises BrokerCannot."""

    def restart(self) -> str:
        """Start again after ``kill`` on the same port and data; returns the bootstrap servers. Raises BrokerUnavailable, BrokerCannot."""
