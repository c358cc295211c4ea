"""SVT-AV1 without its banner.

The library prints a page of settings to standard error for every encoder that is opened, and its
own switch for that, an environment variable read when an encoder opens, is the only one it has.
"""

import os

_FATAL_ONLY = "0"  # with errors, it complains of every stream that ends without a flush


def silence_svt_av1() -> None:
    """Silence SVT-AV1; call before an encoder is opened. Respects a user's choice."""
    os.environ.setdefault("SVT_LOG", _FATAL_ONLY)
