"""The roots that a private authority is verified with.

Owns their file. Refuses to know connections.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from revproxy.tls.pem import MAX_PEM_BYTES


def read_roots(ca_file: str) -> list[x509.Certificate]:
    """The certificates in a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds none.
    """
    with Path(ca_file).open("rb") as file:
        content = file.read(MAX_PEM_BYTES)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError:
        raise ValueError(f"{ca_file} holds no readable PEM certificate") from None
