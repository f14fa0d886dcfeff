"""The API's pages for people: the web page, Swagger UI over /openapi.json, and an index. All of it is served from here.

Nothing is loaded from another host: GPU clusters often have no internet, and a script of a third party would run with
the operator's access to the cluster's network. The Content-Security-Policy makes browsers hold to that.
"""

import hashlib
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request, Response

_PAGES = Path(__file__).with_name("pages")
ASSETS = Path(__file__).with_name("assets")  # Swagger UI's; README.md there says which
APP = _PAGES / "app"  # the web page, built from web/
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
FILES = {  # by path
    "/about": (_PAGES / "index.html", "text/html"),
    "/docs": (_PAGES / "docs.html", "text/html"),
    "/docs/page.js": (_PAGES / "page.js", "text/javascript"),
    "/docs/page.css": (_PAGES / "page.css", "text/css"),
    "/docs/swagger-ui-bundle.js": (ASSETS / "swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": (ASSETS / "swagger-ui.css", "text/css"),
}
_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".woff2": "font/woff2",
    ".txt": "text/plain",
}
_INDEX = "index.html"


def add(app: FastAPI) -> None:
    """Serve them; they are no part of the OpenAPI document."""
    for path, (file, media_type) in FILES.items():
        app.add_api_route(path, _Sender(file, media_type).answer, include_in_schema=False, methods=["GET"])
    page = PageFiles(APP)

    async def index(request: Request) -> Response:
        if _INDEX not in page.names:
            return Response((_PAGES / _INDEX).read_bytes(), headers=HEADERS, media_type="text/html")
        return page.answer(_INDEX, request.headers.get("if-none-match"))

    async def of_page(request: Request, file: str) -> Response:
        return page.answer(file, request.headers.get("if-none-match"))

    app.add_api_route("/", index, include_in_schema=False, methods=["GET"])
    app.add_api_route("/page/{file:path}", of_page, include_in_schema=False, methods=["GET"])


class PageFiles:
    """The files of a folder, read once: strangers may ask for them as often as they like."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, tuple[bytes, str, str]] = {}  # content, type, ETag
        for file in sorted(folder.rglob("*")):
            media_type = _TYPES.get(file.suffix)
            if file.is_file() and media_type is not None:
                content = file.read_bytes()
                tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                self._files[file.relative_to(folder).as_posix()] = (content, media_type, tag)

    @property
    def names(self) -> frozenset[str]:
        """Paths in the folder."""
        return frozenset(self._files)

    def answer(self, name: str, known: str | None) -> Response:
        """A file, or that it is the one whose ETag is known. Raises HTTPException (404)."""
        found = self._files.get(name)
        if found is None:
            raise HTTPException(404, "there is no such file")
        content, media_type, tag = found
        headers = {**HEADERS, "ETag": tag, "Cache-Control": "no-cache"}
        if known is not None and tag in (one.strip().removeprefix("W/") for one in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)


class _Sender:
    """One file as an answer."""

    def __init__(self, file: Path, media_type: str) -> None:
        self._file = file
        self._media_type = media_type

    async def answer(self) -> Response:
        """The file. It is read each time: the gateway keeps the answer, and two megabytes stay free here."""
        return Response(self._file.read_bytes(), headers=HEADERS, media_type=self._media_type)
