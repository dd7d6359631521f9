"""Makes ``twistd revproxy`` known to Twisted."""

from twisted.application.service import ServiceMaker

revproxy = ServiceMaker("revproxy", "revproxy.tap", "A reverse proxy.", "revproxy")
