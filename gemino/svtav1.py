"""SVT-AV1 without its banner.

The library prints a page of settings to standard error for every encoder that is opened, and its
own switch for that, an environment variable read when an encoder opens, is the only one it has.
"""

import os

_ERRORS_ONLY = "1"


def silence_svt_av1() -> None:
    """Let SVT-AV1 print errors only; call before an encoder is opened. Respects a user's choice."""
    os.environ.setdefault("SVT_LOG", _ERRORS_ONLY)
