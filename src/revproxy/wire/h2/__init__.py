"""HTTP/2 (RFC 9113), the server's side, sans-IO: frames, header blocks, streams, windows."""
