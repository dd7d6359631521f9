"""An authority in memory, for what a real one cannot be made to say.

Owns accounts, orders and certificates as far as a client can tell, and replies that a test has put
in the way of its own. Refuses to verify anything but nonces: pebble does.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from revproxy.tls.acme.reply import Reply, seconds_of

BASE = "https://ca.test"
DIRECTORY = f"{BASE}/dir"


def problem(code: str, detail: str = "no", **more: object) -> bytes:
    """A problem document."""
    document = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, **more}
    return json.dumps(document).encode()


def decoded(part: str) -> Any:
    """A part of a JSON Web Signature."""
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))


class FakeAuthority:
    """In place of a :class:`~revproxy.tls.acme.channel.Channel` to a real one.

    Attributes:
        asked: the paths of all requests so far.
        orders: the payloads of all orders so far.
        life: how long certificates are valid, in seconds.
        early: how long before now they begin.
        window: what is suggested for the renewal of the first that is asked about, in seconds
            since 1970; None has no renewalInfo.
        refusals: replies in place of its own, by the path's first segment; used up in order.
        denied: names whose validation fails.
        stuck: names whose validation does not end.
        heard: the path, the protected header and the payload of every signed request.
        alternates: how many more chains there are of each certificate.
    """

    def __init__(self, wall: Any) -> None:
        self._wall = wall
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._count = 0
        self._suggested = ""
        self._nonces: set[str] = set()
        self._orders: dict[str, dict[str, Any]] = {}
        self._authorizations: dict[str, dict[str, Any]] = {}
        self._certificates: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.orders: list[Mapping[str, Any]] = []
        self.life = 90 * 86400.0
        self.early = 0.0
        self.window: tuple[float, float] | None = None
        self.refusals: defaultdict[str, list[Reply]] = defaultdict(list)
        self.denied: dict[str, bytes] = {}
        self.stuck: set[str] = set()
        self.heard: list[tuple[str, Mapping[str, Any], Any]] = []
        self.alternates = 0
        self.profiles: tuple[str, ...] = ()
        self.closed = False

    def refuse(self, path: str, status: int, content: bytes, retry_after: str = "") -> None:
        """Answer the next request for ``path`` (its first segment) so."""
        wait = seconds_of(retry_after, self._wall())
        self.refusals[path].append(Reply(status, content, retry_after=wait))

    async def close(self) -> None:
        """As of a channel."""
        self.closed = True

    async def request(
        self, method: str, url: str, body: bytes | None = None, kind: str = ""
    ) -> Reply:
        """As of a channel."""
        path = url.removeprefix(f"{BASE}/")
        what, _, which = path.partition("/")
        self.asked.append(path)
        payload: Any = None
        if method == "POST":
            assert body is not None
            message = json.loads(body)
            protected = decoded(message["protected"])
            assert protected["url"] == url, protected
            if protected["nonce"] not in self._nonces:
                return self._fresh(Reply(400, problem("badNonce")))
            self._nonces.remove(protected["nonce"])
            payload = decoded(message["payload"]) if message["payload"] else None
            self.heard.append((path, protected, payload))
        if self.refusals[what]:
            return self._fresh(self.refusals[what].pop(0))
        answer: Reply = getattr(self, f"_{what}")(which, payload)
        return self._fresh(answer)

    def _fresh(self, reply: Reply) -> Reply:
        self._count += 1
        nonce = f"nonce-{self._count}"
        self._nonces.add(nonce)
        return evolve(reply, nonce=nonce, date=self._wall())

    def payloads(self, path: str) -> list[Any]:
        """The payloads of all signed requests for ``path``."""
        return [payload for asked, _, payload in self.heard if asked == path]

    def _json(self, document: object, location: str = "", status: int = 200) -> Reply:
        return Reply(status, json.dumps(document).encode(), location)

    def _dir(self, which: str, payload: Any) -> Reply:
        names = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
        names |= {"revokeCert": "revoke", "keyChange": "change"}
        document: dict[str, Any] = {key: f"{BASE}/{path}" for key, path in names.items()}
        if self.window is not None:
            document["renewalInfo"] = f"{BASE}/ari"
        document["meta"] = {"profiles": dict.fromkeys(self.profiles, "about it")}
        return self._json(document)

    def _nonce(self, which: str, payload: Any) -> Reply:
        return Reply(200, b"")

    def _account(self, which: str, payload: Any) -> Reply:
        return self._json({"status": "valid"}, f"{BASE}/account/1", 201)

    def _change(self, which: str, payload: Any) -> Reply:
        return self._json({"status": "valid"})

    def _revoke(self, which: str, payload: Any) -> Reply:
        return Reply(200, b"")

    def _order(self, which: str, payload: Any) -> Reply:
        if which:
            return self._json(self._orders[which])
        self.orders.append(payload)
        self._count += 1
        number = str(self._count)
        urls = []
        for identifier in payload["identifiers"]:
            name = identifier["value"]
            key = f"{number}-{name}"
            urls.append(f"{BASE}/authz/{key}")
            self._authorizations[key] = {
                "status": "pending",
                "identifier": identifier,
                "challenges": [
                    {
                        "type": kind,
                        "url": f"{BASE}/chall/{key}",
                        "token": f"{kind}-{number}",
                        "status": "pending",
                    }
                    for kind in ("dns-01", "http-01", "tls-alpn-01")
                ],
            }
        self._orders[number] = {
            "status": "pending",
            "identifiers": payload["identifiers"],
            "authorizations": urls,
            "finalize": f"{BASE}/finalize/{number}",
        }
        return self._json(self._orders[number], f"{BASE}/order/{number}", 201)

    def _authz(self, which: str, payload: Any) -> Reply:
        return self._json(self._authorizations[which])

    def _chall(self, which: str, payload: Any) -> Reply:
        authorization = self._authorizations[which]
        if authorization["identifier"]["value"] in self.stuck:
            return self._json(authorization["challenges"][0])
        denial = self.denied.get(authorization["identifier"]["value"])
        authorization["status"] = "invalid" if denial else "valid"
        if denial:
            authorization["challenges"][0]["error"] = json.loads(denial)
        order = self._orders[which.partition("-")[0]]
        states = [
            self._authorizations[url.removeprefix(f"{BASE}/authz/")]["status"]
            for url in order["authorizations"]
        ]
        if "invalid" in states:
            order["status"] = "invalid"
        elif set(states) == {"valid"}:
            order["status"] = "ready"
        return self._json(authorization["challenges"][0])

    def _finalize(self, which: str, payload: Any) -> Reply:
        order = self._orders[which]
        csr = x509.load_der_x509_csr(urlsafe_b64decode(payload["csr"] + "=="))
        self._certificates[which] = self._issue(csr)
        order |= {"status": "valid", "certificate": f"{BASE}/cert/{which}"}
        return self._json(order)

    def _cert(self, which: str, payload: Any) -> Reply:
        which, _, _ = which.partition("/")
        urls = tuple(f"{BASE}/cert/{which}/{number}" for number in range(self.alternates))
        return Reply(200, self._certificates[which], alternates=urls)

    def _ari(self, which: str, payload: Any) -> Reply:
        assert self.window is not None
        self._suggested = self._suggested or which
        if which != self._suggested:
            return Reply(404, problem("malformed"))
        start, end = (datetime.fromtimestamp(one, UTC).isoformat() for one in self.window)
        return self._json({"suggestedWindow": {"start": start, "end": end}})

    def _issue(self, csr: x509.CertificateSigningRequest) -> bytes:
        now = datetime.fromtimestamp(self._wall() - self.early, UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fake authority")])
        alternatives = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(name)
            .public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(seconds=self.life))
            .add_extension(alternatives, critical=True)
            .add_extension(identifier, critical=False)
            .sign(self._key, SHA256())
        )
        return certificate.public_bytes(Encoding.PEM)
