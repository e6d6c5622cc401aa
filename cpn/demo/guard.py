"""Only this machine's own page may talk to the server, and the page may load nothing else.

The server listens on 127.0.0.1, so other machines cannot reach it; other web sites in the same
browser can. They are kept out by the name they must use (a site whose name is rebound to 127.0.0.1
still sends its own in `Host`) and by the origin that a browser states when it posts.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = ("127.0.0.1", "localhost")
READING = ("GET", "HEAD")
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
        " img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def guards() -> list[Middleware]:
    """What stands before the application, outermost first."""
    return [
        Middleware(OwnPageOnly),
        Middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_NAMES, www_redirect=False),
    ]


class OwnPageOnly:
    """Refuses what another origin posts, and puts `SECURITY_HEADERS` on every answer.

    A program that is no browser states no origin; it is let in.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request, or passes it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        origin = headers.get("origin")
        own = f"http://{headers.get('host')}"
        if scope["method"] not in READING and origin not in {None, own}:
            refusal = {"error": f"refused: sent by a page of {origin}, allowed is {own}"}
            await JSONResponse(refusal, 403)(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)
