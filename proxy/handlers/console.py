"""``GET /console``: a page to see the models and to try them, with a key of one's own."""

from __future__ import annotations

from proxy.handlers.pages import CSS, JAVASCRIPT, Page, PageFileHandler, PageHandler

PAGE = Page(
    "console",
    {
        "console.css": CSS,
        **dict.fromkeys(
            (
                "api.js",
                "chart.js",
                "chat.js",
                "console.js",
                "elements.js",
                "examples.js",
                "figures.js",
                "models.js",
                "raw.js",
                "rates.js",
            ),
            JAVASCRIPT,
        ),
    },
    {
        "img-src": "'self' data: blob:",  # an image that a model has answered with
        "require-trusted-types-for": "'script'",  # nobody's text becomes markup
        "trusted-types": "'none'",
    },
)


class ConsoleHandler(PageHandler):
    """The page itself, which has no data: it asks for that with the key."""

    page = PAGE


class ConsoleFileHandler(PageFileHandler):
    """``GET /console/{file}``: what the page loads."""

    page = PAGE
