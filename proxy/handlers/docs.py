"""``GET /docs``: a page to read the API's description and to try it, with a key of one's own."""

from __future__ import annotations

from proxy.handlers.pages import CSS, JAVASCRIPT, TEXT, Page, PageFileHandler, PageHandler

# Swagger UI with its licences, and what starts it.
PAGE = Page(
    "docs",
    {
        "docs.js": JAVASCRIPT,
        "swagger-ui-bundle.js": JAVASCRIPT,
        "swagger-ui-bundle.js.LICENSE.txt": TEXT,
        "swagger-ui.css": CSS,
        "LICENSE": TEXT,
        "NOTICE": TEXT,
    },
    {},
)


class DocsHandler(PageHandler):
    """The page itself."""

    page = PAGE


class DocsFileHandler(PageFileHandler):
    """``GET /docs/{file}``: what the page loads."""

    page = PAGE
