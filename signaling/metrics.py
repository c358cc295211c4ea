"""Counters in Prometheus's text format (version 0.0.4): totals only, no room and no address."""

from collections import Counter
from collections.abc import Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "signaling_"
_HELP = {
    "rooms": "Rooms that somebody is in or may come back to.",
    "peers": "Places taken in them, those kept for lost connections included.",
    "connections": "Open WebSocket connections.",
    "draining": "1 while the server is about to stop.",
    "joins_total": "Joins let in.",
    "rejoins_total": "Places taken back after a lost connection.",
    "lost_total": "Connections of joined peers that ended without a goodbye.",
    "relayed_messages_total": "Messages passed on.",
    "relayed_bytes_total": "Bytes of JSON passed on.",
    "refused_total": "Requests refused, by error code.",
}


class Metrics:
    """What has happened since the server started."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()

    def render(self, gauges: Mapping[str, int]) -> str:
        """The page for a scrape. gauges: what is there right now, by name without prefix."""
        lines = []
        for name, meaning in _HELP.items():
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {_PREFIX}{name} {meaning}", f"# TYPE {_PREFIX}{name} {kind}"]
            if name == "refused_total":
                for code, count in sorted(self.refused.items()):
                    lines.append(f'{_PREFIX}{name}{{code="{code}"}} {count}')
            else:
                value = self.counts[name] if kind == "counter" else gauges[name]
                lines.append(f"{_PREFIX}{name} {value}")
        return "\n".join(lines) + "\n"
