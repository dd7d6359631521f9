"""Certificates and TLS contexts: what is served, to whom, and whom to trust upstream."""
