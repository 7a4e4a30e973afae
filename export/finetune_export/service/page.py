"""The page for people: one file each of markup, style, script and icon; nothing comes from anywhere else."""

from __future__ import annotations

from importlib import resources
from string import Template

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from finetune_export import __version__
from finetune_export.image_gate import FORMATS, PICTURE_SUFFIXES

FOLDER = resources.files("finetune_export.service") / "page"
FILES = {
    path: ((FOLDER / name).read_text(encoding="utf-8"), media_type)
    for path, name, media_type in (
        ("/", "page.html", "text/html"),
        ("/page.css", "page.css", "text/css"),
        ("/page.js", "page.js", "text/javascript"),
        ("/icon.svg", "icon.svg", "image/svg+xml"),
    )
}
"""Open to everybody, token or not: a browser sends none when it opens a page, and nothing here is secret."""


async def page(request: Request) -> Response:
    """Return one of the page's files; the markup states the limits this service has."""
    if request.scope["path"] not in FILES:  # routes let a line feed at the end through
        raise HTTPException(404)
    text, media_type = FILES[request.scope["path"]]
    if media_type == "text/html":
        text = Template(text).substitute(_facts(request))
    return Response(text, headers={"Cache-Control": "no-cache"}, media_type=media_type)


def _facts(request: Request) -> dict[str, str]:
    max_bytes = min(request.app.state.settings.max_body_bytes, request.app.state.settings.limits.max_bytes)
    return {
        "accept": ",".join(PICTURE_SUFFIXES),
        "formats": f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}",
        "max_bytes": str(max_bytes),
        "max_mb": f"{max_bytes / 2**20:g}",
        "token": "needed" if request.app.state.settings.token else "",
        "version": __version__,
    }


routes = [Route(path, page) for path in FILES]
