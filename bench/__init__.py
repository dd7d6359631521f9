"""The benchmark harness: the proxy against nginx, HAProxy, Envoy and Caddy, alike configured.

``python -m bench`` from the root of the repository measures everything, ``--quick`` one measure.
Nothing here is installed with the proxy, and no figure here ever fails a test run.
"""
