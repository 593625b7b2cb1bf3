"""One self-contained HTML page a run: plain sentences first, then images, then figures, then every setting.

`ReportContent` holds plain data and knows nothing of runs or models; `render_report` turns it into the page.
"""

from aegean.report.content import (
    Cluster,
    Codes,
    Figure,
    ImageRow,
    Mistakes,
    Proposals,
    Reconstructions,
    ReportContent,
    Technical,
)
from aegean.report.health import AdversaryHealth
from aegean.report.page import render_report

__all__ = [
    "AdversaryHealth",
    "Cluster",
    "Codes",
    "Figure",
    "ImageRow",
    "Mistakes",
    "Proposals",
    "Reconstructions",
    "ReportContent",
    "Technical",
    "render_report",
]
