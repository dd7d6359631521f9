"""A reverse proxy for the edge of a self-hosted server.

The package is layered; imports go down only (``tests/test_layering.py``):
``tap``/``cli`` > ``control`` > ``net``, ``tls`` > ``policy``, ``settings`` > ``wire`` > ``model``.
``docs/architecture/overview.md`` is the map.
"""

__version__ = "0.1.0.dev0"
