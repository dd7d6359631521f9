"""Message heads as the rest of the proxy sees them, whatever HTTP version they came in.

Owns the two head types. They are filled by ``wire/`` only after the whole head has passed
validation, so every reader may trust what is in them: names are tokens, values hold no control
characters, framing is unambiguous. Refuses to know how a head is parsed or written.

Plain slotted classes and not attrs: one of each is made per request, and they are filled field
by field.
"""

from __future__ import annotations

Field = tuple[bytes, bytes]


class RequestHead:
    """The head of one request, validated.

    Attributes:
        method: any token.
        target: what is sent upstream: origin-form (path and query) or ``*``.
        path: ``target`` without its query, as sent; what the log shows.
        host: the host name lower-cased, without port and trailing dot (an IPv6 literal keeps
            its brackets), or ``""`` in a head that was refused before it was known.
        authority: the same as received, sent upstream as ``Host``.
        minor: 0 for HTTP/1.0, 1 for HTTP/1.1 and above.
        fields: what may be forwarded as it is: neither hop-by-hop nor framing, nor ``Host``,
            nor anything that only the proxy may say.
        content_length: the body's length in bytes; 0 without a body; -1 when chunked.
        keep_alive: whether the downstream connection may carry another request.
        expect_continue: the downstream waits for a 100 before it sends the body.
        wants_trailers: ``TE: trailers`` was among the fields.
        forwarded_for: the values of ``X-Forwarded-For``, joined with commas.
        request_id: the value of ``X-Request-ID``, or ``b""``.
        client_address_fields: fields of CDNs that name the client (``CF-Connecting-IP``...),
            to be believed and passed on only from a trusted proxy.
        max_forwards: the value of ``Max-Forwards`` when it is a number, else -1.
        protocol: what the connection or stream is asked to become: the value of ``Upgrade``
            where ``Connection`` names it, or that of an extended CONNECT (RFC 8441); ``b""`` for
            nothing.
    """

    __slots__ = (
        "authority",
        "client_address_fields",
        "content_length",
        "expect_continue",
        "fields",
        "forwarded_for",
        "host",
        "keep_alive",
        "max_forwards",
        "method",
        "minor",
        "path",
        "protocol",
        "request_id",
        "target",
        "wants_trailers",
    )

    method: bytes
    target: bytes
    path: bytes
    host: str
    authority: bytes
    minor: int
    fields: list[Field]
    content_length: int
    keep_alive: bool
    expect_continue: bool
    wants_trailers: bool
    forwarded_for: bytes
    request_id: bytes
    client_address_fields: list[Field]
    max_forwards: int
    protocol: bytes


class ResponseHead:
    """The head of one response of an upstream, validated.

    Attributes:
        status: 100 to 999.
        reason: the reason phrase, which may be empty.
        fields: what may be forwarded: hop-by-hop, framing and ``Server`` are gone.
        content_length: the body's length in bytes, also where there is no body (HEAD, 304);
            -1 when the head does not say.
        body_length: the bytes of body that follow: 0 for HEAD, 1xx, 204 and 304;
            :data:`CHUNKED` or :data:`UNTIL_CLOSE`.
        keep_alive: whether the upstream connection may carry another request.
        has_date: whether ``Date`` is among the fields.
        protocol: of a 101 of an upstream, the value of ``Upgrade``.
    """

    __slots__ = (
        "body_length",
        "content_length",
        "fields",
        "has_date",
        "keep_alive",
        "protocol",
        "reason",
        "status",
    )

    status: int
    reason: bytes
    fields: list[Field]
    content_length: int
    body_length: int
    keep_alive: bool
    has_date: bool
    protocol: bytes


CHUNKED = -1
"""``body_length`` of a body in the chunked coding (RFC 9112 7.1)."""

UNTIL_CLOSE = -2
"""``body_length`` of a response body that ends with the connection (RFC 9112 6.3)."""
