"""Train a network; the same as `gemino train`. See `python scripts/train.py --help`."""

import sys

from gemino.cli.main import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
