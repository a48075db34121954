"""What a browser needs to lay pictures upon their sound: one stream, and one clock told for both."""

import asyncio
import re
from types import SimpleNamespace

import aiortc
import pytest
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.rtp import RtcpSrPacket

from anchor.serving.encoding import OPUS_FRAME, Packet
from anchor.serving.hub import Hub
from anchor.serving.webrtc import SCREEN_S, OfferError, answer_offer, show

RATES = {"video": (90_000, 25), "audio": (48_000, 48_000)}  # of RTP's clock, and of ours
FIRST = 1000  # the session's tick when the viewer comes
PICTURE_LATER_S = 0.15  # than its sound: it takes longer to encode, on a machine that has much to do


class Ear:
    """Takes what one of the browser's receivers is sent: the first packet's time, and the reports."""

    def __init__(self, receiver):
        self.first, self.reports = None, []
        receiver._handle_rtp_packet, receiver._handle_rtcp_packet = self.packet, self.report

    async def packet(self, packet, arrival_time_ms):
        self.first = packet.timestamp if self.first is None else self.first

    async def report(self, packet):
        if isinstance(packet, RtcpSrPacket) and packet.sender_info.ntp_timestamp and self.first is not None:
            self.reports.append((packet.sender_info.ntp_timestamp / 2**32, packet.sender_info.rtp_timestamp))

    def began(self, kind):
        """When tick 0 was, in seconds since 1900, as each report has it."""
        return [ntp - (rtp - self.first) % 2**32 / RATES[kind][0] - FIRST / 25 for ntp, rtp in self.reports]


async def offering():
    """A browser's side, with its offer made."""
    browser = RTCPeerConnection()
    for kind in ("video", "audio"):
        browser.addTransceiver(kind, direction="recvonly")
    await browser.setLocalDescription(await browser.createOffer())
    return browser


def test_pictures_and_sound_are_one_stream_on_one_clock(run):
    async def watch():
        hub, browser = Hub(), await offering()
        live = SimpleNamespace(session=SimpleNamespace(hub=hub), closers=set())
        peer, sdp = await show(live, browser.localDescription.sdp)
        streams = re.findall(r"^a=msid:(\S+) (\S+)", sdp, re.M)
        assert len(streams) == 2
        assert len({stream for stream, _ in streams}) == 1, "Chromium synchronises the tracks of one stream alone"
        assert len({track for _, track in streams}) == 2
        ears = {one.kind: Ear(one.receiver) for one in browser.getTransceivers()}
        await browser.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        tick = FIRST
        while any(len(ear.reports) < 2 for ear in ears.values()):
            hub.publish([Packet("opus", bytes([0xFC, tick % 256]), tick * OPUS_FRAME, OPUS_FRAME, True)])
            await asyncio.sleep(PICTURE_LATER_S)
            hub.publish([Packet("h264", b"\0\0\0\1\x65" + bytes([tick % 250 + 1]), tick, 1, True)])
            tick += 1
        assert live.closers == {peer.close}
        await peer.close()
        assert not live.closers, "a viewer that left is forgotten"
        await browser.close()
        ahead = {"video": SCREEN_S, "audio": 0.0}  # a screen is slower than a browser thinks
        return [began + ahead[kind] for kind, ear in ears.items() for began in ear.began(kind)]

    began = run(watch())
    assert max(began) - min(began) == pytest.approx(0, abs=0.002), "a tick's picture and its sound are of one moment"


def test_an_offer_of_two_sections_of_one_name_is_refused_and_leaves_nothing_open(run):
    async def ask():
        hub, browser = Hub(), await offering()
        sdp = browser.localDescription.sdp
        await browser.close()
        with pytest.raises(OfferError, match="cannot be answered"):
            await answer_offer(hub, sdp.replace("a=mid:0", "a=mid:1"))
        assert not hub.kinds

    run(ask())


def test_aiortc_still_has_what_is_set_behind_its_back(run):
    """There is no public way to say when a packet was made, nor to hear that a viewer wants a whole picture."""

    async def look():
        sender = RTCRtpSender("video", SimpleNamespace(state="new"))
        for name in ("_RTCRtpSender__ntp_timestamp", "_send_keyframe"):
            assert hasattr(sender, name), (
                f"aiortc {aiortc.__version__} has no RTCRtpSender.{name}. anchor/serving/webrtc.py sets it: "
                "mend that, or pin aiortc below this version."
            )

    run(look())
