"""The latent explorer: a page on this machine that shows what the decoder makes of any code.

`axes` finds directions through code space, `session` answers what the page asks of a run, `page` renders it, and
`server` lets a browser on this machine, and nothing else, ask.
"""

from aegean.explore.server import Explorer
from aegean.explore.session import Session, open_session

__all__ = ["Explorer", "Session", "open_session"]
