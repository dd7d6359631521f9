"""Bytes to heads and back, sans-IO: framing rules, validation, ClientHello. No clock, no log."""
