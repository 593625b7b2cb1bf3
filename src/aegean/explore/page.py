"""The explorer's page: one document with its style and script inside, and the policy that lets in nothing else."""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup


def render_page(title: str, sentences: Sequence[str]) -> tuple[str, str]:
    """Return the page and its content security policy.

    Args:
        title: of the run; it is escaped, as all text is.
        sentences: what is said above the map.

    Returns:
        HTML, and the value of the header `Content-Security-Policy`: style and script by their hashes, images from
        the page itself, requests to where the page is from.
    """
    style, script = _read("style.css"), _read("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(_read("template.html")).render(
        title=title,
        sentences=sentences,
        style=Markup(style),  # noqa: S704 - our own files
        script=Markup(script),  # noqa: S704
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page.encode("utf-8", "replace").decode("utf-8"), policy


def _read(name: str) -> str:
    return resources.files("aegean.explore").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
