"""The pages for people: the first page, the interactive documentation, and their files, all served from here."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

_STATIC = Path(__file__).parent.parent / "web" / "static"

_PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
}
"""Nothing from elsewhere, nothing inline; Swagger UI's icons are data: images."""

router = APIRouter(include_in_schema=False)


@router.get("/")
async def first_page() -> FileResponse:
    """Say what this is and where to go."""
    return FileResponse(_STATIC / "index.html", headers=_PAGE_HEADERS)


@router.get("/docs")
async def documentation() -> FileResponse:
    """Show the interface, with requests to try."""
    return FileResponse(_STATIC / "docs.html", headers=_PAGE_HEADERS)


@router.get("/favicon.ico")
async def favicon() -> FileResponse:
    """Answer what browsers ask for on their own."""
    return FileResponse(_STATIC / "favicon.svg", media_type="image/svg+xml")


def static_files() -> StaticFiles:
    """Return the application that serves the pages' files."""
    return StaticFiles(directory=_STATIC)
