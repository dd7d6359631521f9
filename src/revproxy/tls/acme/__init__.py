"""Certificates from a certificate authority that speaks ACME (RFC 8555)."""
