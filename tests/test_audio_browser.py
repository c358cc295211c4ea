"""Chromium codes its sound as we ask for it in SDP, and we code ours as it asks."""

from pathlib import Path

import aioice.ice
import pytest

from gemino.call.audio import SoundPacket
from gemino.call.hearing import Hearing
from gemino.call.opus import OpusSettings, packet_samples
from gemino.call.sound_format import SoundWish
from gemino.call.speaking import Speaking
from signaling import Access, SignalingServer

plain = pytest.importorskip("test_plain_browser", reason="needs playwright")
pytestmark = plain.pytestmark


@pytest.mark.timeout(180)
async def test_chromium_sends_long_packets_at_the_rate_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", aioice.ice.get_host_addresses)
    came: list[SoundPacket] = []
    agreed: list[OpusSettings] = []
    add, agree = Hearing.add, Speaking.agree

    def noting_add(self: Hearing, packet: SoundPacket, now: float) -> None:
        came.append(packet)
        add(self, packet, now)

    def noting_agree(self: Speaking, wish: SoundWish) -> None:
        agree(self, wish)
        agreed.append(self._opus.settings)

    monkeypatch.setattr(Hearing, "add", noting_add)
    monkeypatch.setattr(Speaking, "agree", noting_agree)
    async with (
        plain.chromium() as browser,
        plain.served_page() as address,
        SignalingServer(access=Access(origins=("*",))) as server,
    ):
        page = await browser.new_page()
        await page.goto(address)
        await plain.hold(page, server, tmp_path / "received.mp4", browser_first=True)
    assert {packet_samples(packet.data) for packet in came[3:]} == {2_880}
    seconds = (came[-1].timestamp - came[0].timestamp) % (1 << 32) / 48_000
    spent = sum(len(packet.data) for packet in came) * 8 / 1000 / seconds
    assert spent < 20
    assert agreed[0].fec
    assert agreed[0].packet_ms == 60
    assert not agreed[0].dtx
