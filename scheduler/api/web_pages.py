"""The API's pages for people: an index, and Swagger UI over /openapi.json. All of it is served from here.

Nothing is loaded from another host: GPU clusters often have no internet, and a script of a third party would run with
the operator's access to the cluster's network. The Content-Security-Policy makes browsers hold to that.
"""

from pathlib import Path

from fastapi import FastAPI, Response

_PAGES = Path(__file__).with_name("pages")
ASSETS = Path(__file__).with_name("assets")  # Swagger UI's; README.md there says which
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
FILES = {  # by path
    "/": (_PAGES / "index.html", "text/html"),
    "/docs": (_PAGES / "docs.html", "text/html"),
    "/docs/page.js": (_PAGES / "page.js", "text/javascript"),
    "/docs/page.css": (_PAGES / "page.css", "text/css"),
    "/docs/swagger-ui-bundle.js": (ASSETS / "swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": (ASSETS / "swagger-ui.css", "text/css"),
}


def add(app: FastAPI) -> None:
    """Serve them; they are no part of the OpenAPI document."""
    for path, (file, media_type) in FILES.items():
        app.add_api_route(path, _Sender(file, media_type).answer, include_in_schema=False, methods=["GET"])


class _Sender:
    """One file as an answer."""

    def __init__(self, file: Path, media_type: str) -> None:
        self._file = file
        self._media_type = media_type

    async def answer(self) -> Response:
        """The file. It is read each time: the gateway keeps the answer, and two megabytes stay free here."""
        return Response(self._file.read_bytes(), headers=HEADERS, media_type=self._media_type)
