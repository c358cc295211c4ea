"""`python -m signaling`."""

import sys

from signaling.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m signaling"))
