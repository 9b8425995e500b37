"""Logs for machines: one JSON object a line, on standard error.

What users ask (names, photos) is not logged, only how much of it there was.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone
from typing import Any

logger = logging.getLogger("dpseg.serve")


class JsonFormatter(logging.Formatter):
    """Write a record and its `fields` as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def event(name: str, *, level: int = logging.INFO, error: bool = False, **fields: Any) -> None:
    """Log that something happened.

    Args:
        name: what happened.
        level: of `logging`.
        error: add the traceback of the exception that is being handled.
        fields: what else to say.
    """
    logger.log(level, name, exc_info=error, extra={"fields": fields})


def log_to_standard_error() -> None:
    """Send our events, and what uvicorn has to say, to standard error as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name, level in (("dpseg.serve", logging.INFO), ("uvicorn", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers, log.propagate = [handler], False
        log.setLevel(level)
