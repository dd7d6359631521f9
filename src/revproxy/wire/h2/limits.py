"""What one HTTP/2 connection may ask for.

Owns the limits of the layer as one value. Refuses to know files.
"""

from __future__ import annotations

from attrs import frozen

from revproxy.model.configuration import Limits
from revproxy.wire.h2.frames import DEFAULT_WINDOW


@frozen
class H2Limits:
    """Limits of a connection; those that count frames are for a window of 10 s.

    Attributes:
        max_streams: requests at once (SETTINGS_MAX_CONCURRENT_STREAMS); more are refused.
        header_list_bytes: a head, decoded, 32 bytes added for each field (RFC 9113 6.5.2): 431;
            also a header block as it is sent.
        header_fields: fields of a head: 431.
        target_bytes: ``:path``: 414.
        trailer_bytes: the trailers of a request, decoded.
        resets: streams that the client resets, or that we reset for an error of the client's.
        continuations: CONTINUATION frames of one head.
        settings: SETTINGS frames.
        pings: PING frames.
        priorities: PRIORITY, PRIORITY_UPDATE and unknown frames.
        empty_frames: DATA frames without content that end nothing.
        window_updates: WINDOW_UPDATE frames beyond those that our DATA frames explain.
        buffered_bytes: of a response, held while the windows are closed, and of a request body
            before its client has to wait.
        connect_protocol: whether extended CONNECT (RFC 8441) is offered.
    """

    max_streams: int = 128
    header_list_bytes: int = 65536
    header_fields: int = 128
    target_bytes: int = 8192
    trailer_bytes: int = 16384
    resets: int = 100
    continuations: int = 20
    settings: int = 50
    pings: int = 100
    priorities: int = 200
    empty_frames: int = 100
    window_updates: int = 1000
    buffered_bytes: int = 262144
    connect_protocol: bool = False

    @property
    def window_bytes(self) -> int:
        """The receiving window of a stream.

        It is never smaller than what a client may use before it has our SETTINGS
        (RFC 9113 6.9.2).
        """
        return max(self.buffered_bytes, DEFAULT_WINDOW)

    @classmethod
    def of(cls, limits: Limits, *, connect_protocol: bool = False) -> H2Limits:
        """The limits that a configuration gives.

        Args:
            limits: its ``[limits]``.
            connect_protocol: whether extended CONNECT is offered.
        """
        return cls(
            max_streams=limits.h2_max_streams,
            header_list_bytes=limits.h2_header_list_bytes,
            header_fields=limits.request_headers,
            target_bytes=limits.request_target_bytes,
            trailer_bytes=limits.trailer_bytes,
            resets=limits.h2_resets,
            continuations=limits.h2_continuations,
            settings=limits.h2_settings,
            pings=limits.h2_pings,
            priorities=limits.h2_priorities,
            empty_frames=limits.h2_empty_frames,
            buffered_bytes=limits.buffered_bytes,
            connect_protocol=connect_protocol,
        )
