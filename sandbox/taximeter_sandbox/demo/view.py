"""What the user sees while the demo runs: a live table on a terminal, plain lines elsewhere. Everything here goes to stderr."""

import asyncio
import os
import sys
import time
from types import TracebackType
from typing import Final, Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from taximeter_sandbox.demo.stages import progress, stages, summary
from taximeter_sandbox.demo.watching import Watch

REFRESH_SECONDS: Final = 0.5
PLAIN_SECONDS: Final = 5.0


class View(Protocol):
    """Shows what happens."""

    def say(self, text: str) -> None:
        """One sentence about what was just done."""
        ...

    def phase(self, title: str) -> None:
        """What is being done from now on."""
        ...

    def watch(self, watch: Watch, events: int) -> None:
        """From now on there is something to look at."""
        ...

    def __enter__(self) -> Self: ...  # start to show

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...  # stop


def view_for(stream: TextIO) -> View:
    """A live view if there is a terminal that can show one."""
    if stream.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return LiveView(Console(file=stream))
    return PlainView(stream)


class PlainView:
    """A line for each thing that happens, and one now and then for how far it is."""

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream
        self._began = time.monotonic()
        self._watch: Watch | None = None
        self._events = 1
        self._task: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        """One line."""
        print(f"[{time.monotonic() - self._began:6.1f} s] {text}", file=self._stream, flush=True)

    def phase(self, title: str) -> None:
        """One line."""
        self.say(title)

    def watch(self, watch: Watch, events: int) -> None:
        """Begin with the lines about how far it is."""
        self._watch, self._events = watch, events

    def __enter__(self) -> Self:
        self._task = asyncio.create_task(self._repeat(), name="plain-view")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(PLAIN_SECONDS)
            if self._watch is not None and self._watch.latest is not None:
                self.say(summary(self._watch, self._events))


class LiveView:
    """A table that is redrawn twice a second; what happens scrolls by above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._watch: Watch | None = None
        self._events = 1
        self._title = "starting"
        self._live = Live(get_renderable=self._render, console=console, auto_refresh=False, transient=True)
        self._task: asyncio.Task[None] | None = None

    def say(self, text: str) -> None:
        """A line above the table."""
        self._console.print(Text(f"{time.monotonic() - self._began:6.1f} s  ", style="dim") + Text(text))

    def phase(self, title: str) -> None:
        """The table's title."""
        self._title = title
        self.say(title)

    def watch(self, watch: Watch, events: int) -> None:
        """Begin with the table."""
        self._watch, self._events = watch, events

    def __enter__(self) -> Self:
        self._live.start()
        self._task = asyncio.create_task(self._repeat(), name="live-view")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._live.stop()

    async def _repeat(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _render(self) -> RenderableType:
        title = Text(f"{self._title}  ", style="bold") + Text(f"{time.monotonic() - self._began:.0f} s", style="dim")
        if self._watch is None or self._watch.latest is None:
            return title
        share, left = progress(self._watch, self._events)
        table = Table(box=None, pad_edge=False, expand=False)
        for heading, side in (("stage", "left"), ("done", "right"), ("rate", "right"), ("waiting", "right"), ("pressure", "left")):
            table.add_column(heading, justify="right" if side == "right" else "left", no_wrap=True)
        for stage in stages(self._watch):
            style = "bold red" if stage.lag == "DOWN" else ""
            table.add_row(stage.name, stage.done, stage.rate, stage.lag, stage.pressure, style=style)
        about = f"{share:.0%} of {self._events:,} events emitted" + (f", about {left:.0f} s of load left" if left is not None and share < 1 else "")
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(total=1.0, completed=share, width=40), Text(about))
        return Group(title, bar, table)
