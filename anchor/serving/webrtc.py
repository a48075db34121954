"""A viewer over WebRTC: packets that are encoded already, fanned out by aiortc."""

from __future__ import annotations

import asyncio
import datetime
import time

import av
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpsender import RTCRtpSender

from anchor.errors import AnchorError
from anchor.serving.encoding import AUDIO_BASE, VIDEO_BASE, Kind
from anchor.serving.hub import Hub, Viewer
from anchor.serving.live import Live

__all__ = ["OfferError", "answer_offer", "show"]

MOST_SDP = 64 * 1024  # bytes of an offer: a browser's has about 5 KB
GATHER_S = 5.0  # s for candidates
CONNECT_S = 10.0  # s for a viewer to come after the answer
SILENT_S = 6.0  # without a report, which a browser sends every second or so: aiortc itself waits for half a minute
LOOK_S = 0.5
# A browser knows what its loudspeaker's buffer adds, and thinks that a screen shows a picture after 10 ms. In Chromium
# it came 20 to 40 ms after its sound at the ear: pictures are said to be older by this, and are held back less.
SCREEN_S = 0.03
NTP_TO_1970_S = 2_208_988_800  # RFC 5905, figure 4


class OfferError(AnchorError, ValueError):
    """An offer that cannot be answered; says why."""


class _WallClock:
    """When both kinds of a viewer's packets are said to have been made: one moment for one time of the session."""

    def __init__(self) -> None:
        self._began_s: float | None = None  # since 1970, of the session's tick 0 as the first packet had it

    def at(self, media_s: float) -> int:
        """The NTP time (RFC 5905: 32 bits of seconds since 1900, 32 of their fraction) of a time of the session."""
        if self._began_s is None:
            self._began_s = time.time() - media_s
        return round((self._began_s + media_s + NTP_TO_1970_S) * 2**32)


class _PacketTrack(MediaStreamTrack):
    """One kind of a viewer's packets as aiortc reads them."""

    def __init__(self, viewer: Viewer, kind: Kind, clock: _WallClock) -> None:
        super().__init__()
        self.kind = "video" if kind == "h264" else "audio"
        self._viewer, self._kind, self._clock = viewer, kind, clock
        self._base = VIDEO_BASE if kind == "h264" else AUDIO_BASE
        self._sent: int | None = None  # pts of the packet that was sent last
        self.sender: RTCRtpSender | None = None

    async def recv(self) -> av.Packet:
        """The next packet.

        Raises:
            MediaStreamError: there is no more.
        """
        if self._sent is not None:
            # aiortc's reports to the browser say when a packet was sent. Encoding and a busy machine are in that, other
            # for pictures than for sound, and the browser would lay the one upon the other wrongly: tell its tick.
            made = self._clock.at(float(self._sent * self._base) - (SCREEN_S if self.kind == "video" else 0.0))
            self.sender._RTCRtpSender__ntp_timestamp = made  # type: ignore[union-attr]
        packet = await self._viewer.get(self._kind)
        if packet is None:
            self.stop()
            raise MediaStreamError
        out = av.Packet(packet.data)
        out.pts, out.time_base, self._sent = packet.pts, self._base, packet.pts
        return out


async def answer_offer(hub: Hub, sdp: str) -> tuple[RTCPeerConnection, str]:
    """``(peer, SDP of the answer)`` for a browser's offer; the peer watches ``hub`` until either of them ends.

    Raises:
        OfferError: the offer is too long, is no SDP, or has no H.264 and Opus.
    """
    if len(sdp) > MOST_SDP:
        raise OfferError(f"The offer has {len(sdp)} bytes; at most {MOST_SDP} are read.")
    if not {"m=video", "m=audio"} <= {line.partition(" ")[0] for line in sdp.splitlines()}:
        raise OfferError("This offer cannot be answered: it is no SDP that asks for a picture and for sound.")
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))  # no server of somebody else's is asked
    viewer = hub.join(["h264", "opus"])

    async def end() -> None:
        viewer.close()
        try:
            await peer.close()
        except AttributeError:  # aiortc 1.16 stumbles over a track that the offer gave no transport
            for transport in (transceiver.receiver.transport for transceiver in peer.getTransceivers()):
                if transport is not None:
                    await transport.stop()
                    await transport.transport.stop()

    try:
        # Tracks and codecs first: aiortc ignores preferences that come after the offer.
        clock = _WallClock()
        for kind in ("h264", "opus"):
            track = _PacketTrack(viewer, kind, clock)
            track.sender = sender = peer.addTrack(track)
            sender._send_keyframe = hub.want_key  # type: ignore[method-assign]  # a viewer that lost a picture asks for a whole one
        for transceiver in peer.getTransceivers():
            wanted = "h264" if transceiver.kind == "video" else "opus"
            codecs = RTCRtpSender.getCapabilities(transceiver.kind).codecs
            transceiver.setCodecPreferences([codec for codec in codecs if codec.name.lower() == wanted])

        @peer.on("connectionstatechange")
        async def changed() -> None:
            if peer.connectionState == "connected":
                hub.want_key()
            elif peer.connectionState in ("closed", "failed"):
                await end()

        await peer.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
        answer = await peer.createAnswer()
        await asyncio.wait_for(peer.setLocalDescription(answer), GATHER_S)
    except Exception as error:
        await end()
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise OfferError(f"This offer cannot be answered: {reason}") from None
    description = peer.localDescription.sdp
    if "H264" not in description or "opus" not in description.lower():
        await end()
        raise OfferError("The offer has no H.264 or no Opus. Use a browser that plays both, or the WebSocket stream.")
    viewer.heard = time.monotonic()
    task = asyncio.get_running_loop().create_task(_look_after(peer, viewer))
    task.add_done_callback(lambda done: asyncio.ensure_future(end()))
    return peer, description


async def show(live: Live, sdp: str) -> tuple[RTCPeerConnection, str]:
    """What :func:`answer_offer` gives, for a viewer that ends with the session at the latest."""
    peer, answer = await answer_offer(live.session.hub, sdp)
    live.closers.add(peer.close)

    def forget() -> None:
        if peer.connectionState == "closed":
            live.closers.discard(peer.close)

    peer.on("connectionstatechange", forget)
    return peer, answer


async def _look_after(peer: RTCPeerConnection, viewer: Viewer) -> None:
    """Until the viewer has not come, has gone, or has fallen silent; its reports are its signs of life."""
    began = last = time.monotonic()
    while peer.connectionState not in ("closed", "failed"):
        await asyncio.sleep(LOOK_S)
        now = time.monotonic()
        if peer.connectionState != "connected":
            if now - began > CONNECT_S:
                return
            viewer.heard, last = now, now
            continue
        reports = [await sender.getStats() for sender in peer.getSenders()]
        times = [one.timestamp for report in reports for one in report.values() if one.type == "remote-inbound-rtp"]
        if times:
            age_s = (datetime.datetime.now(datetime.timezone.utc) - max(times)).total_seconds()
            viewer.heard = last = max(last, now - age_s)
        if now - last > SILENT_S:
            return
