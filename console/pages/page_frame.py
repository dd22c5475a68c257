"""What every page has: head, navigation, and the part that is asked for again while it is looked at."""

from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import urlencode

from console.pages.elements import Child, Html, element, joined

LIVE_SECONDS: Final = 3
_HTMX: Final = '{"includeIndicatorStyles":false,"allowEval":false,"allowScriptTags":false,"historyCacheSize":0}'
PAGES: Final = (("/", "Pipeline"), ("/customers", "Customers"), ("/set-aside", "Set aside"), ("/refused", "Refused, held"), ("/plans", "Plans"))


class PageAbout(NamedTuple):
    """`path` and `query` are the page's own address. `revision`: of the store that it shows; `live`: whether it is asked for again.

    `missing`: what the numbers lack, in words.
    """

    title: str
    path: str
    query: dict[str, str]
    revision: int
    live: bool = True
    missing: str | None = None


def page(about: PageAbout, *content: Child, above: Child = None) -> Html:
    """The whole document. `above`: what does not change while the rest is asked for again, such as forms."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="htmx-config", content=_HTMX),
        element("title", f"{about.title} - Taximeter"),
        element("link", rel="icon", href="/static/icon.svg"),
        element("link", rel="stylesheet", href="/static/console.css"),
        element("script", src="/static/htmx.min.js", defer=True),
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#content", class_="skip"),
        element("header", element("strong", "Taximeter"), element("nav", _links(about), aria_label="Pages")),
        element(
            "main", element("h1", about.title), _pause(about), above, _live(about, joined([_missing(about), *content])), id="content", tabindex=-1
        ),
    )
    return Html(f"<!doctype html>{element('html', head, body, lang='en')}")


def address(path: str, **query: str | int | None) -> str:
    """A path with a query; None is left out."""
    said = urlencode({name.rstrip("_"): value for name, value in query.items() if value is not None})
    return f"{path}?{said}" if said else path


def link(text: str, path: str, **query: str | int | None) -> Html:
    """A link within the console. It has an id, so that it keeps the focus when its part of the page is renewed."""
    href = address(path, **query)
    return element("a", text, href=href, id=f"to-{href}")


def moment(time_ms: int) -> Html:
    """A time in UTC, to the second."""
    text = datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return element("time", text, datetime=f"{text.replace(' ', 'T')}Z")


def figure(name: str, value: Child, *, bad: bool = False) -> Html:
    """A number with its name, in a `dl`."""
    return element("div", element("dt", name), element("dd", value, class_="bad" if bad else None))


def _links(about: PageAbout) -> Html:
    here = "/customers" if about.path in {"/customer", "/customer/events"} else about.path
    items = [element("li", element("a", name, href=path, aria_current="page" if path == here else None)) for path, name in PAGES]
    return element("ul", *items)


def _pause(about: PageAbout) -> Html:
    other = {name: value for name, value in about.query.items() if name not in {"live", "seen"}}
    if about.live:
        text = f"Renewed every {LIVE_SECONDS} seconds while there is something new. All times are UTC. "
        return element("p", text, element("a", "Pause", href=address(about.path, **other, live="off")), class_="quiet")
    return element("p", "Paused. All times are UTC. ", element("a", "Renew", href=address(about.path, **other)), class_="quiet")


def _missing(about: PageAbout) -> Html | None:
    return None if about.missing is None else element("p", f"The numbers grow still: {about.missing}.", class_="notice")


def _live(about: PageAbout, content: Html) -> Html:
    if not about.live:
        return element("div", content, id="live")
    again = address(about.path, **{**about.query, "seen": str(about.revision)})
    return element("div", content, id="live", hx_get=again, hx_trigger=f"every {LIVE_SECONDS}s", hx_select="#live", hx_swap="outerHTML")
