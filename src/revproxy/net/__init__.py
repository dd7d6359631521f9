"""The data path: Twisted protocols between the sockets and the rules in ``policy/``."""
