"""What the program's loggers say, on standard error."""

import logging

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"{record.levelname.lower()}: {record.getMessage()}"


def say(verbosity: int) -> None:
    """Print warnings; from 1 on, also what happens; from 2 on, what it happens for.

    A line each, without tracebacks. To the standard error of this moment: above what a terminal
    shows, where something is drawn there.
    """
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    for name in ("gemino", "signaling"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
