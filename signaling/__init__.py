"""A rendezvous server: WebSocket rooms of two that relay JSON and look at none of it.

`python -m signaling` runs one; `SignalingServer` embeds one. README.md has the protocol.
"""

from signaling.access import Access
from signaling.ice import IceServers
from signaling.limits import Limits, Refused
from signaling.server import SignalingServer, StartError

__all__ = ["Access", "IceServers", "Limits", "Refused", "SignalingServer", "StartError"]
