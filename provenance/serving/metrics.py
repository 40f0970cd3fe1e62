"""What the process counts, for Prometheus.

Of the process, like logging: the modules that know an event count it here, and whoever serves
``/metrics`` shows it. Labels are bounded: route templates, never paths; no id, no name, no address.
"""

from __future__ import annotations

from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "MEDIA_TYPE",
    "PICTURES",
    "QUEUE_LENGTH",
    "RATE_LIMITED",
    "REQUESTS",
    "REQUEST_SECONDS",
    "STAGE_SECONDS",
    "VERDICTS",
    "show",
    "timed",
]

MEDIA_TYPE = CONTENT_TYPE_LATEST

_ALL = CollectorRegistry()
ProcessCollector(registry=_ALL)

REQUESTS = Counter(
    "countermark_requests",
    "HTTP requests answered.",
    ("route", "method", "status"),
    registry=_ALL,
)
REQUEST_SECONDS = Histogram(
    "countermark_request_seconds",
    "Time from a request to the end of its answer.",
    ("route",),
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300),
    registry=_ALL,
)
RATE_LIMITED = Counter(
    "countermark_rate_limited",
    "Requests answered 429: too many a minute, a quota used up, or a full queue.",
    ("route",),
    registry=_ALL,
)
STAGE_SECONDS = Histogram(
    "countermark_generation_seconds",
    "Time of one picture in one stage of the write path.",
    ("stage",),
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300),
    registry=_ALL,
)
PICTURES = Counter(
    "countermark_pictures",
    "Pictures asked for, by what became of them: delivered, refused, failed.",
    ("outcome",),
    registry=_ALL,
)
QUEUE_LENGTH = Gauge("countermark_queue_length", "Jobs that wait to be rendered.", registry=_ALL)
VERDICTS = Counter(
    "countermark_verdicts",
    "Pictures examined, by what was said of them.",
    ("origin", "assurance"),
    registry=_ALL,
)


@contextmanager
def timed(stage: str) -> Iterator[None]:
    """Measures one stage; one that fails is not counted, since it did not take its time."""
    start = perf_counter()
    yield
    STAGE_SECONDS.labels(stage).observe(perf_counter() - start)


def show() -> bytes:
    """Everything in Prometheus' text format."""
    return generate_latest(_ALL)
