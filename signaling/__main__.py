"""`python -m signaling`: run the rendezvous server until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import logging
import signal
import sys

from signaling import SignalingServer, StartError


async def _serve(host: str, port: int) -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()

    def stop(exit_code: int) -> None:
        if not stopped.done():
            stopped.set_result(exit_code)

    loop.add_signal_handler(signal.SIGTERM, stop, 0)
    loop.add_signal_handler(signal.SIGINT, stop, 130)
    async with SignalingServer(host, port) as server:
        print(f"listening on {server.url}", flush=True)
        return await stopped


def main() -> int:
    """Run the command; returns its exit code: 0, 2 on an error, 130 on Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m signaling",
        description="WebSocket rooms of two that relay JSON: two peers find each other.",
        epilog="example: python -m signaling --host 0.0.0.0 --port 8765",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="0: a free one (%(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return asyncio.run(_serve(options.host, options.port))
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
