"""The ICE half of a connection: where each peer may be reached. Touches aioice's private names.

aiortc gathers every candidate before a description is complete, and a STUN or TURN server that does
not answer would hold up the call for five seconds. So a connection is made without servers: the
description leaves at once with this machine's own addresses, and what the servers say is sent after
it, each candidate as soon as it is known (trickle ICE, RFC 8838), and given to aioice beside the
ones that it knows. Once two peers have a path, no server is asked any more.

Where nothing works without a server, that is if only relayed candidates may be used, or this
machine has no address of its own, the description waits for them: aiortc does not begin to look
for a path before there is one candidate.

Candidates of the other peer are a stranger's text: bounded in number and size, and checked.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import aioice.ice
from aioice import Candidate, stun
from aiortc import RTCIceCandidate, RTCIceTransport, RTCPeerConnection
from aiortc.rtcicetransport import candidate_from_aioice
from aiortc.sdp import candidate_to_sdp

from gemino.call.description import MAX_CANDIDATES, Description, read_candidate
from gemino.call.ice import IceServer
from gemino.errors import WireError

logger = logging.getLogger(__name__)

PRIVATE_NAMES = {
    "Connection": (
        "_protocols",
        "_local_candidates",
        "_remote_candidates",
        "_pair_remote_candidate",
    ),
    "Candidate": ("_network_host",),
    "RTCIceTransport": ("_connection",),
}
_ANSWER_S = 5.0
"""For a STUN or TURN server; the first retransmissions come after 0.5, 1.5 and 3.5 seconds."""

_FIRST_MID = re.compile(r"^a=mid:([^\r\n]*)", re.MULTILINE)
"""The section that carries all others: media are bundled."""

Tell = Callable[[dict[str, Any]], Awaitable[None]]


class Candidates:
    """Both peers' candidates for one connection.

    connection: without ICE servers of its own. relay_only: ours are those of TURN servers, and the
    connection's policy says so too. failures: which server did not help, and why, a line each.
    """

    def __init__(
        self, connection: RTCPeerConnection, servers: Sequence[IceServer], *, relay_only: bool
    ) -> None:
        self.failures: list[str] = []
        self._connection = connection
        self._servers = servers
        self._relay_only = relay_only
        self._trickles = False
        self._tell: Tell | None = None
        self._filtered: set[int] = set()
        self._ours_end = self._theirs_end = False
        self._taken = 0

    @property
    def more_to_come(self) -> bool:
        """Whether candidates will follow the description; to be known when it is made."""
        return self._trickles

    @property
    def theirs(self) -> int:
        """How many candidates the other peer has named."""
        return sum(len(agent._remote_candidates) for agent in self._agents())

    @property
    def ours(self) -> int:
        """How many candidates we have."""
        return sum(len(agent._local_candidates) for agent in self._agents())

    async def prepare(self) -> None:
        """Before our description is made: wait for relayed candidates, where they are needed."""
        if self._relay_only or not aioice.ice.get_host_addresses(True, True):
            await self._ask_all()
            self._ours_end = True
        else:
            self._trickles = bool(self._servers)
            self._ours_end = not self._trickles

    async def trickle(self, tell: Tell) -> None:
        """After our description has left: find more candidates, and `tell` the other peer of each.

        tell: sends one message. To be cancelled once there is a path.
        """
        self.filter_sources()
        if self._trickles:
            self._tell = tell
            await self._ask_all()
            await tell({"candidate": None})
            self._ours_end = True
            await self._end_if_all_is_known()

    async def take(self, message: Mapping[str, Any]) -> None:
        """A candidate that the other peer has sent, or its word that there are no more.

        One that is malformed or one too many raises WireError, and changes nothing.
        """
        candidate = read_candidate(message)
        if candidate is None:
            self._theirs_end = True
            await self._end_if_all_is_known()
            return
        await self._add(candidate)

    async def take_described(self, description: Description) -> None:
        """The candidates in the other peer's description, once aiortc has the rest of it."""
        for candidate in description.candidates:
            await self._add(candidate)
        if description.complete:
            self._theirs_end = True
            await self._end_if_all_is_known()

    def filter_sources(self) -> None:
        """Drop media datagrams from addresses that are no candidate of the other peer's.

        aioice hands whatever is no STUN message to DTLS and SRTP, whoever sent it.
        """
        for agent in self._agents():
            for protocol in agent._protocols:
                self._filter(agent, protocol)

    async def _add(self, candidate: RTCIceCandidate) -> None:
        if self._taken >= MAX_CANDIDATES:
            raise WireError(f"the other peer names more than {MAX_CANDIDATES} candidates")
        self._taken += 1
        try:
            # aiortc knows where each belongs, and leaves out those of bundled media.
            await self._connection.addIceCandidate(candidate)
        except OSError as error:  # a browser may hide its address behind a name (mDNS)
            logger.info("the name %s cannot be looked up here: %s", candidate.ip, error)

    async def _end_if_all_is_known(self) -> None:
        """Let aioice give up once no candidate of either side can help any more."""
        if self._ours_end and self._theirs_end:
            await self._connection.addIceCandidate(None)

    async def _ask_all(self) -> None:
        """Ask all servers at once, for every agent."""
        questions = [
            question
            for agent in self._agents()
            for server in self._servers
            for question in self._questions(agent, server)
        ]
        await asyncio.gather(*questions)

    def _questions(self, agent: Any, server: IceServer) -> Iterator[Awaitable[None]]:
        if server.parts.scheme != "stun":
            yield self._ask(server, self._relay(agent, server))
        elif not self._relay_only:
            for protocol in list(agent._protocols):
                if ":" not in protocol.local_candidate.host:  # aioice asks over IPv4 alone
                    yield self._ask(server, self._reflect(agent, protocol, server))

    async def _ask(self, server: IceServer, question: Awaitable[None]) -> None:
        why = ""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await question
        except stun.TransactionFailed as error:
            why = _refusal(error)
        except (TimeoutError, stun.TransactionError):
            why = "does not answer"
        except OSError as error:
            why = f"cannot be reached ({error.strerror or error})"
        except (ValueError, KeyError) as error:  # aioice's reading of what a server says
            why = f"makes no sense ({error})"
        if why and (line := f"{server.url} {why}") not in self.failures:
            logger.info("%s", line)
            self.failures.append(line)

    async def _reflect(self, agent: Any, protocol: Any, server: IceServer) -> None:
        parts = server.parts
        candidate, _ = await aioice.ice.server_reflexive_candidate(
            protocol, (parts.host, parts.port)
        )
        base = protocol.local_candidate
        if (candidate.host, candidate.port) != (base.host, base.port):
            await self._found(agent, candidate)

    async def _relay(self, agent: Any, server: IceServer) -> None:
        parts = server.parts
        candidate, protocol = await aioice.ice.relayed_candidate(
            component=1,
            hide_related_address=self._relay_only,
            protocol_factory=lambda: aioice.ice.StunProtocol(agent),
            turn_server=(parts.host, parts.port),
            turn_username=server.username,
            turn_password=server.credential,
            turn_ssl=parts.scheme == "turns",
            turn_transport=parts.transport,
        )
        agent._protocols.append(protocol)
        self._filter(agent, protocol)
        await self._found(agent, candidate)

    async def _found(self, agent: Any, candidate: Candidate) -> None:
        """A candidate of ours: for aioice, and for the other peer."""
        agent._local_candidates.append(candidate)
        for theirs in list(agent._remote_candidates):
            agent._pair_remote_candidate(theirs)
        agent.sort_check_list()
        if self._tell is not None:
            line = f"candidate:{candidate_to_sdp(candidate_from_aioice(candidate))}"
            mid = _FIRST_MID.search(self._connection.localDescription.sdp)
            described = {"candidate": line, "sdpMid": mid[1] if mid else "0", "sdpMLineIndex": 0}
            await self._tell({"candidate": described})

    def _agents(self) -> list[Any]:
        return list({id(one): one for one in _agents(self._connection)}.values())

    def _filter(self, agent: Any, protocol: Any) -> None:
        if id(protocol) in self._filtered:
            return
        self._filtered.add(id(protocol))
        receive = protocol.datagram_received

        def datagram_received(data: bytes, address: tuple[Any, ...]) -> None:
            is_stun = bool(data) and data[0] < 4  # RFC 7983; STUN checks integrity by itself
            known = is_stun or any(
                # Not `host`: a browser may hide its address behind a name (mDNS).
                theirs._network_host == address[0] and theirs.port == address[1]
                for theirs in agent._remote_candidates
            )
            if known:
                receive(data, address)

        protocol.datagram_received = datagram_received


def use_loopback_addresses() -> None:
    """From now on in this process, offer 127.0.0.1 as the only host candidate.

    aioice leaves it out of the host addresses: no call would work on a machine without another one.
    """

    def get_host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        return ["127.0.0.1"] if use_ipv4 or not use_ipv6 else ["::1"]

    aioice.ice.get_host_addresses = get_host_addresses


def _agents(connection: RTCPeerConnection) -> Iterator[Any]:
    transports: list[RTCIceTransport] = [
        transceiver.receiver.transport.transport for transceiver in connection.getTransceivers()
    ]
    if connection.sctp is not None:
        transports.append(connection.sctp.transport.transport)
    for transport in transports:
        agent: Any = transport
        yield agent._connection


def _refusal(error: stun.TransactionFailed) -> str:
    code = error.response.error_code
    if code == 401:
        return "refuses our credentials (401): are they right, and not expired?"
    return f"refuses ({code})"
