"""How HTTP answers differ, in the words of the fields that `wire.answer` fills."""

import platform

from observation import ABSENT, ANY, D

SERVER = {"header server": D("D09", f"WebSockify Python/{platform.python_version()}", "WebSockify consolegate")}
NO_SNIFFING = {"header x-content-type-options": D("D10", ours="nosniff")}
# What our answers with a file, or about one, carry beside Nova's fields.
ADDED = {
    **SERVER, **NO_SNIFFING,
    "header cache-control": D("D10", ours="no-cache"), "header etag": D("D10", ours=ANY),
    "header referrer-policy": D("D10", ours="no-referrer"), "header vary": D("D10", ours="Accept-Encoding"),
}


def served(media_type=None, connection="keep-alive"):
    """A file on both sides; ours states the charset of the texts, whose `media_type` this is."""
    differs = {**ADDED, "header connection": D("D10", ours=connection)}
    if media_type:
        differs["header content-type"] = D("D17", media_type, f"{media_type}; charset=utf-8")
    return differs


def page(nova=None, ours=None, number="D12", head=False):
    """An error page on both sides, each with its own text; `nova` and `ours` are the reason phrases where they differ."""
    differs = {**SERVER, **NO_SNIFFING, "header content-length": D("D12", ANY, ANY)}
    if not head:
        differs["body"] = D("D12", ANY, ANY)
    if nova:
        differs["phrase"] = D(number, nova, ours)
    return differs


def not_allowed(method):
    """405 where Nova says 501."""
    return {**page(f"Unsupported method ('{method}')", "Method Not Allowed", "D13"),
            "status": D("D13", "HTTP/1.1 501", "HTTP/1.1 405"), "header allow": D("D13", ours="GET, HEAD")}


def refused_here(number, nova_type="text/javascript", status="HTTP/1.1 400", phrase="Bad Request"):
    """A file on Nova's side, and an error page of ours for the reason `number`."""
    return {
        **SERVER, **NO_SNIFFING,
        "status": D(number, "HTTP/1.1 200", status), "phrase": D(number, "OK", phrase),
        "body": D(number, ANY, ANY), "header content-length": D(number, ANY, ANY),
        "header content-type": D(number, nova_type, "text/html;charset=utf-8"),
        "header last-modified": D(number, "<date>", ABSENT), "header connection": D(number, ours="close"),
        "then": D(number, "kept", "closed"),
    }


def bare_page(number, status, phrase):
    """An error page of ours where Nova sends one without a head, or nothing, and closes."""
    return {
        **SERVER_OF_OURS, "end": D(number, "eof"), "text": D(number, ANY), "status": D(number, ours=status),
        "phrase": D(number, ours=phrase), "body": D(number, ours=ANY), "header content-length": D(number, ours=ANY),
        "header content-type": D(number, ours="text/html;charset=utf-8"), "header date": D(number, ours="<date>"),
        "header connection": D(number, ours="close"),
    }


SERVER_OF_OURS = {"header server": D("D09", ours="WebSockify consolegate"), **NO_SNIFFING}


def accepted_there(number):
    """101 on Nova's side, and an error page of ours."""
    return {
        **SERVER, **NO_SNIFFING, "status": D(number, "HTTP/1.1 101", "HTTP/1.1 400"),
        "phrase": D(number, "Switching Protocols", "Bad Request"), "body": D(number, ours=ANY),
        "header content-length": D(number, ours=ANY), "header connection": D(number, "Upgrade", "close"),
        "header content-type": D(number, ours="text/html;charset=utf-8"),
        "header upgrade": D(number, "websocket"), "header sec-websocket-accept": D(number, ANY),
    }


def accepted_here(number, status, phrase, connection="close", media_type="text/html;charset=utf-8", **more):
    """101 on our side, and another answer of Nova's."""
    return {
        **SERVER, "status": D(number, status, "HTTP/1.1 101"), "phrase": D(number, phrase, "Switching Protocols"),
        "body": D(number, ANY), "header content-length": D(number, ANY),
        "header connection": D(number, connection, "Upgrade"), "header content-type": D(number, media_type),
        "header upgrade": D(number, ours="websocket"),
        "header sec-websocket-accept": D(number, ours="s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), **more,
    }
