"""What becomes of a connection, from its join to its end: `rooms` and `throttle` decide."""

import asyncio
import time

from aiohttp import WSCloseCode

from signaling import tokens
from signaling.access import Access
from signaling.connection import Connection
from signaling.ice import IceServers
from signaling.limits import Limits, Refused
from signaling.messages import Join, Ping, Relay, parse, parse_join, serialize
from signaling.metrics import Metrics
from signaling.rooms import Place, Rooms
from signaling.throttle import Throttle


class Switchboard:
    """All connections and the places that they hold.

    draining: no new room is opened any more; those that are there may still fill up.
    """

    def __init__(self, limits: Limits, access: Access, ice: IceServers | None = None) -> None:
        self.connections: set[Connection] = set()
        self.draining = False
        self.emptied = asyncio.Event()
        self.rooms = Rooms(limits)
        self.throttle = Throttle(limits)
        self.metrics = Metrics()
        self._limits = limits
        self._access = access
        self._ice = ice or IceServers()
        self._owners: dict[Place, Connection] = {}
        self._farewells: set[asyncio.Task[None]] = set()

    async def serve(self, connection: Connection) -> None:
        """Hold one connection until it ends."""
        self.connections.add(connection)
        self.emptied.clear()
        try:
            await self._converse(connection)
        except Refused as refusal:
            self.metrics.refused[refusal.code] += 1
            await connection.refuse(refusal)
        finally:
            self.connections.discard(connection)
            if not self.connections:
                self.emptied.set()

    def gauges(self) -> dict[str, int]:
        """What is there right now."""
        return {
            "rooms": len(self.rooms),
            "peers": self.rooms.count_places(),
            "connections": len(self.connections),
            "draining": int(self.draining),
        }

    def announce_end(self, seconds: float) -> None:
        """Open no room from now on, and tell every peer that the server stops in `seconds`."""
        self.draining = True
        for place in list(self._owners):
            self._post(place, serialize("going-away", seconds=seconds))

    async def close_all(self) -> None:
        """End every connection with 1001, going away."""
        closing = [one.close(WSCloseCode.GOING_AWAY, "shutdown") for one in self.connections]
        await asyncio.gather(*closing, return_exceptions=True)

    async def _converse(self, connection: Connection) -> None:
        """One client from its join to its end; raises `Refused` for what ends it early."""
        loop = asyncio.get_running_loop()
        self.throttle.join(connection.address, time.monotonic())
        text = await connection.receive(loop.time() + self._limits.join_timeout_s)
        if text is None:
            return
        join = parse_join(text)
        place = self._admit(join)
        self._owners[place] = connection
        kept = False
        try:
            back = join.rejoin is not None
            others = self.rooms.others(place)
            told = {"ice_servers": self._ice.describe(time.time())} if self._ice.urls else {}
            joined = serialize("joined", peers=len(others), rejoin=place.secret, kept=back, **told)
            for other in others:
                self._post(other, serialize("peer-rejoined" if back else "peer-joined"))
            await connection.greet(joined, place)
            await self._listen(connection, place)
            kept = connection.lost
        finally:
            self._part(connection, place, kept=kept)

    def _admit(self, join: Join) -> Place:
        """The place that a join gets; raises `Refused`."""
        if join.rejoin is not None:  # whoever knows this secret has shown a token before
            place = self.rooms.rejoin(join.room, join.rejoin)
            before = self._owners.pop(place, None)
            if before is not None:
                before.release()
                refusal = Refused("replaced", "your place was taken over from another connection")
                self._farewell(before, refusal)
            self.metrics.counts["rejoins_total"] += 1
            return place
        if self._access.secret is not None:
            tokens.check(self._access.secret, join.room, join.token, time.time())
        if self.draining and not self.rooms.exists(join.room):
            raise Refused("going-away", "the server is about to stop: try again in a while")
        place = self.rooms.join(join.room, time.monotonic(), create=join.create)
        self.metrics.counts["joins_total"] += 1
        return place

    async def _listen(self, connection: Connection, place: Place) -> None:
        """Relay what the client says until it leaves or is lost; raises `Refused`."""
        loop = asyncio.get_running_loop()
        idle_at = loop.time() + self._limits.idle_timeout_s
        while True:
            text = await connection.receive(idle_at)
            if text is None or self._owners.get(place) is not connection:
                return
            self.throttle.message(connection.address, time.monotonic())
            request = parse(text, self._limits)
            if isinstance(request, Ping):  # a program's heartbeat is no sign of use
                self._post(place, serialize("pong"))
                continue
            idle_at = loop.time() + self._limits.idle_timeout_s
            self._relay(place, request)
            if request.last:
                return

    def _relay(self, place: Place, relay: Relay) -> None:
        others = self.rooms.others(place)
        for other in others:
            self.metrics.counts["relayed_messages_total"] += 1
            self.metrics.counts["relayed_bytes_total"] += len(relay.text.encode())
            self._post(other, relay.text)
        if not others and not relay.last:
            reason = "nobody else is in the room"
            self._post(place, serialize("error", code="no-peer", reason=reason))

    def _post(self, place: Place, text: str) -> None:
        """Let `text` reach the owner of `place` as soon as it can."""
        owner = self._owners.get(place)
        if not place.put(text, self._limits.max_backlog_bytes):
            if owner is not None:
                owner.overflow()  # its own task notices, and gives the place up
            else:
                self._vacate(place)
        elif owner is not None:
            owner.wake()

    def _part(self, connection: Connection, place: Place, *, kept: bool) -> None:
        """A connection has ended: keep its place for a while, or give it up."""
        if self._owners.get(place) is not connection:
            return  # taken over meanwhile
        del self._owners[place]
        connection.release()
        if not kept:
            self._vacate(place)
            return
        place.lost_at = time.monotonic()
        self.metrics.counts["lost_total"] += 1
        for other in self.rooms.others(place):
            self._post(other, serialize("peer-lost"))
        loop = asyncio.get_running_loop()
        loop.call_later(self._limits.rejoin_s, self._expire, place, place.lost_at)

    def _expire(self, place: Place, lost_at: float) -> None:
        if place.lost_at == lost_at:  # not back, and not lost a second time
            self._vacate(place)

    def _vacate(self, place: Place) -> None:
        place.lost_at = None
        for other in self.rooms.leave(place):
            self._post(other, serialize("peer-left"))

    def _farewell(self, connection: Connection, refusal: Refused) -> None:
        """End a connection from outside its own task."""
        task = asyncio.create_task(connection.refuse(refusal))
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
