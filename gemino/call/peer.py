"""One peer of a call: the rim of I/O around the decisions.

`Peer` joins a room, lets `link` connect it to whoever else is there, says Hello on the data channel
and then only carries: messages and RTCP out, messages in, once every `_TICK_S`. What to say, and
what to do with what comes, is decided in `conversation`, `outgoing` and `incoming`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import cv2

from gemino.call.candidates import use_loopback_addresses
from gemino.call.conversation import Conversation
from gemino.call.incoming import Incoming
from gemino.call.link import Link
from gemino.call.options import PeerOptions
from gemino.call.outgoing import Outgoing
from gemino.call.plain import PlainConversation
from gemino.call.signaling import SignalingClient
from gemino.call.sources import Source
from gemino.errors import CallError, GeminoError
from gemino.wire import Message

_TICK_S = 0.02
_STATUS_EVERY_S = 1.0
_FLUSH_S = 1.0
_MAX_EARLY = 16
"""Messages kept that come before we have noticed that the channel is open: a Hello, no more."""

Result = TypeVar("Result")
Status = Callable[["Peer", float], None]


class Interrupted(Exception):  # noqa: N818 - no error: somebody asked for the end
    """The call was asked to stop."""


class Peer:
    """One peer for one call.

    status: called once a second while the call runs. waiting: called when nobody else is there yet.
    """

    def __init__(
        self, options: PeerOptions, status: Status, waiting: Callable[[], None] | None = None
    ) -> None:
        self.options = options
        self.outgoing: Outgoing | None = None
        self.incoming: Incoming | None = None
        self.conversation: Conversation | PlainConversation | None = None
        self._status = status
        self._waiting = waiting
        self._early: list[bytes | str] = []
        self._stop = asyncio.Event()
        self._link = Link(options, self._on_message)

    def setup(self) -> dict[str, float | str | None]:
        """How the call came about, for the report: seconds from meeting the other peer to the
        connection, when that was (monotonic), and whether it is a "gemino" or a "plain" one."""
        met, connected = self._link.met_at, self._link.connected_at
        took = None if met is None or connected is None else round(connected - met, 3)
        other = "gemino" if self._link.gemino else "plain"
        return {"connect_s": took, "connected_at": connected, "other": other if connected else None}

    def stop(self) -> None:
        """Ask the call to end: `run` then closes its files and raises Interrupted."""
        self._stop.set()

    def mute(self, on: bool) -> None:
        """Send silence instead of sound, or sound again; from the event loop's thread."""
        if self.outgoing is not None:
            self.outgoing.mute(on)

    def hide(self, on: bool) -> None:
        """Switch the camera off for the other side, or on again; from the event loop's thread."""
        if self.outgoing is not None:
            self.outgoing.hide(on)

    def ask(self, kbps: float) -> None:
        """Send at most `kbps` of video payload from now on; from the event loop's thread.

        Raises CallError out of the bounds of `MediaOptions`.
        """
        if self.outgoing is not None:
            self.outgoing.ask(kbps)

    def pause(self, on: bool) -> None:
        """Both at once."""
        self.mute(on)
        self.hide(on)

    async def switch(self, source: Source) -> None:
        """Send another source from now on; raises MediaError, CallError, and the old one stays."""
        outgoing = self.outgoing
        if outgoing is None or not outgoing.clock.running:
            raise CallError("nothing is sent yet that could be switched")
        media = self.options.media
        left_s = None
        if media.seconds is not None:
            left_s = max(media.seconds - outgoing.clock.late_s(0.0), 0.0)
        feed = await asyncio.to_thread(source.open, media.size_px, media.kbps, left_s)
        outgoing.switch(feed)

    async def share(self, screen: Source | None) -> None:
        """Send a screen in place of our pictures from now on, or our pictures again (None).

        Raises MediaError where there is no screen, CallError where nothing is sent; what was sent
        then stays.
        """
        outgoing = self.outgoing
        if outgoing is None or not outgoing.clock.running:
            raise CallError("nothing is sent yet that a screen could take the place of")
        if screen is None:
            outgoing.share(None)
            return
        media = self.options.media
        outgoing.share(await asyncio.to_thread(screen.open, media.size_px, media.kbps, None))

    async def run(self) -> None:
        """Hold the call from join to Bye; raises a GeminoError where that fails, Interrupted."""
        options = self.options
        # For the whole process. Other threads have the cores busy, and OpenCV's would wait for
        # one another: a picture takes half as much CPU time again on two of them.
        cv2.setNumThreads(1)
        if options.local:
            use_loopback_addresses()
        try:
            await self._open()
            await self._until_stop(self._prepare())
            signaling = SignalingClient(options.server_url, options.room, token=options.token)
            try:
                await self._until_stop(signaling.connect())
                await self._until_stop(self._link.meet(signaling, self._waiting))
                await self._until_stop(self._talk())
            finally:
                self._link.forget_signaling()
                await signaling.close()
        finally:
            await self._close()

    async def _open(self) -> None:
        """Both halves of the media; raises MediaError, ModelError."""
        options = self.options
        if options.source is not None:
            ask = options.media.size_px, options.media.kbps, options.media.seconds
            feed = await self._until_stop(asyncio.to_thread(options.source.open, *ask))
            try:
                self.outgoing = Outgoing(options, feed)
            except GeminoError:
                feed.close()
                raise
        if options.receives:
            self.incoming = Incoming(options)
        self._link.outgoing, self._link.incoming = self.outgoing, self.incoming

    async def _until_stop(self, work: Awaitable[Result]) -> Result:
        task = asyncio.ensure_future(work)
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise Interrupted
        finally:  # nothing goes on behind our back, whoever ended this
            for one in (task, stop):
                one.cancel()
            await asyncio.gather(task, stop, return_exceptions=True)

    async def _prepare(self) -> None:
        """All that takes long, before anybody waits for us."""
        if self.outgoing is not None:
            await asyncio.to_thread(self.outgoing.prime)
        if self.incoming is not None:
            # Polled: a thread that waits could not be given up while a model loads.
            while not self.incoming.viewer.ready.is_set():  # noqa: ASYNC110
                await asyncio.sleep(_TICK_S)
            if self.incoming.failure is not None:
                raise self.incoming.failure

    async def _talk(self) -> None:
        """From Hello to the last Bye."""
        talk: Conversation | PlainConversation
        now, halves = time.monotonic(), (self.outgoing, self.incoming)
        if self._link.gemino:
            talk = Conversation(self.options, *halves, now)
        else:
            talk = PlainConversation(*halves, now)
        self.conversation = talk
        self._open_files(time.monotonic())  # before Hello: media may follow at once
        if isinstance(talk, Conversation):
            self._say([talk.hello()])
        for data in self._early:
            self._on_message(data)
        status_at = time.monotonic()
        while not talk.over:
            now = time.monotonic()
            talk.peer_left = self._link.peer_left
            talk.check(now)
            if talk.greeted and not talk.started:
                talk.started = True
                await self._measure()
                if self.outgoing is not None:
                    traffic = self.outgoing.counters.traffic
                    traffic.setup_bytes = traffic.onwire_bytes
                    self.outgoing.clock.start()
            if talk.started:
                self._say(talk.messages(now))
                if self.incoming is not None:
                    for request in self.incoming.feedback(now):
                        await request
            if now - status_at >= _STATUS_EVERY_S:
                status_at = now
                await self._measure()
                self._status(self, now)
            await asyncio.sleep(_TICK_S)
        await self._measure()

    def _open_files(self, now: float) -> None:
        if self.incoming is None:
            return
        receiving = self._link.receiving()
        if "video" not in receiving and self.outgoing is None:
            raise CallError("neither peer sends: give one of them --camera or --input")
        self.incoming.start(now, with_audio="audio" in receiving)

    def _on_message(self, data: bytes | str) -> None:
        if self.conversation is not None:
            self._say(self.conversation.receive(data, time.monotonic()))
        elif len(self._early) < _MAX_EARLY:
            self._early.append(data)

    def _say(self, messages: list[Message]) -> None:
        for message in messages:
            self._link.send(message.serialize())

    async def _measure(self) -> None:
        """Read the transport's counters: all media share one transport."""
        sent = None if self.outgoing is None else self.outgoing.counters.traffic
        received = None if self.incoming is None else self.incoming.counters.traffic
        await self._link.measure(sent, received)
        if isinstance(self.conversation, PlainConversation):
            ended, now = self._link.ended, time.monotonic()
            self.conversation.heard(self._link.datagrams, now, ended=ended)
            if self.outgoing is not None and self._link.video_lost is not None:
                self.outgoing.on_loss(self._link.video_lost)

    async def _close(self) -> None:
        """Take leave, close the connection and finish the files."""
        if self.conversation is not None:
            self._say(self.conversation.goodbye("interrupted"))
        await self._link.flush(_FLUSH_S)
        if self.outgoing is not None:
            self.outgoing.close()
        if self.incoming is not None:
            await asyncio.to_thread(self.incoming.close)
        await self._link.close()
