"""Calls an endpoint through the proxy with requests: invoke_endpoint.py HOST PORT."""

from __future__ import annotations

import json
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

if TYPE_CHECKING:
    from tests.smoke import proxy_client
else:
    import proxy_client  # beside this script, whose folder is where Python looks first


class _TrustAdapter(HTTPAdapter):
    """Leaves it to an SSL context alone whom to trust."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)

    def cert_verify(self, *args: object, **kwargs: object) -> None:
        """Add none of the CAs that requests brings."""


class _Caller:
    """The proxy's classic routes."""

    def __init__(self, server: proxy_client.Server, session: requests.Session) -> None:
        self._server = server
        self._session = session
        session.trust_env = False  # ~/.netrc would replace the key
        session.mount("https://", _TrustAdapter(server.tls))
        session.headers["Authorization"] = f"Bearer {server.key}"
        if server.tls.verify_mode == ssl.CERT_NONE:
            session.verify = False
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)

    def list_endpoints(self) -> Any:
        """Every endpoint with its status."""
        with self._request("GET", "/list_endpoints") as response:
            return _parse(response)

    def predict(self, body: dict[str, Any]) -> None:
        """Call a model, and print its answer."""
        with self._request("POST", "/predict", body) as response:
            if body.get("stream") is True:
                for piece in response.iter_content(None):
                    sys.stdout.buffer.write(piece)
                    sys.stdout.buffer.flush()
                return
            answer = _parse(response)
            print(
                answer
                if isinstance(answer, str)
                else json.dumps(answer, indent=2, ensure_ascii=False)
            )

    def _request(
        self, method: str, path: str, body: dict[str, Any] | None = None
    ) -> requests.Response:
        url = self._server.url + path
        response = self._session.request(
            method, url, json=body, timeout=self._server.seconds, stream=True
        )
        if not response.ok:
            with response:
                raise proxy_client.refusal(response.status_code, _parse(response))
        return response


def main() -> None:
    """Choose an endpoint, call it, and print what it answers."""
    parser = proxy_client.make_parser(
        "Calls an endpoint through the proxy's route /predict and prints its answer. The body is "
        "a short chat, or with --data one of your own."
    )
    parser.add_argument(
        "--data",
        metavar="FILE",
        help="a JSON body to send ('-': standard input); its model, if it has none, is added",
    )
    options = parser.parse_args()
    body = _read_body(options.data) if options.data else _chat()
    server = proxy_client.find_server(options)
    with requests.Session() as session:
        caller = _Caller(server, session)
        try:
            model = (
                options.model
                or body.get("model")
                or proxy_client.first_in_service(caller.list_endpoints())
            )
            print(f"endpoint: {model}", flush=True)
            caller.predict({**body, "model": model})
        except requests.Timeout as exc:
            raise server.no_answer() from exc
        except requests.RequestException as exc:
            if "timed out" in str(exc):
                raise server.no_answer() from exc
            raise proxy_client.Failed(f"the connection to {server.address} broke: {exc}") from exc


def _chat() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": proxy_client.QUESTION}]}


def _read_body(path: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        body = json.loads(text)
    except OSError as exc:
        raise proxy_client.Failed(f"--data {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise proxy_client.Failed(f"--data {path}: is not JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise proxy_client.Failed(f"--data {path}: must be a JSON object")
    return body


def _parse(response: requests.Response) -> Any:
    """The body as JSON, or as text if it is none."""
    response.encoding = response.encoding or "utf-8"
    try:
        return response.json()
    except ValueError:
        return response.text


if __name__ == "__main__":
    sys.exit(proxy_client.run(main))
