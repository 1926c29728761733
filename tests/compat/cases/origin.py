"""The Origin of the page that opened the WebSocket."""

from cases.common import REFUSED, served_here, visit
from observation import D
from registry import case


def page(side, origin, *more, base="http://127.0.0.1:6083/", log=False, **how):
    fields = ([("Origin", origin)] if origin is not None else []) + list(more)
    return visit(side, fields=fields, mint={"base": base}, log=log, **how)


@case()
def same_host(side):
    """Ports do not matter."""
    return page(side, "http://127.0.0.1:9999")


@case(differs=REFUSED)
def other_host(side):
    return page(side, "http://example.org", log=True)


@case()
def host_in_allowed_origins(side):
    return page(side, "http://dashboard.example.org")


@case(differs=REFUSED)
def null(side):
    return page(side, "null", log=True)


@case(differs=REFUSED)
def empty(side):
    return page(side, "", log=True)


@case(differs=REFUSED)
def another_scheme(side):
    return page(side, "https://127.0.0.1", log=True)


@case(differs=REFUSED)
def of_an_extension(side):
    return page(side, "chrome-extension://127.0.0.1", log=True)


@case()
def websocket_base_and_http(side):
    return page(side, "http://127.0.0.1", base="ws://127.0.0.1:6083/")


@case(differs=REFUSED)
def secure_websocket_base_and_http(side):
    return page(side, "http://127.0.0.1", base="wss://127.0.0.1:6083/", log=True)


@case()
def secure_base_behind_a_balancer(side):
    return page(side, "http://127.0.0.1", ("X-Forwarded-Proto", "https"), base="https://127.0.0.1/")


@case(differs=REFUSED)
def forwarded_scheme_that_does_not_match(side):
    return page(side, "https://127.0.0.1", ("X-Forwarded-Proto", "http"), base="https://127.0.0.1/", log=True)


@case()
def of_an_ipv6_host(side):
    return page(side, "http://[2001:db8::1]:6080", host="[2001:db8::1]:6080")


@case(differs=REFUSED)
def without_base_address(side):
    return page(side, "http://127.0.0.1", base=None, log=True)


@case()
def without_base_address_and_origin(side):
    return page(side, None, base=None)


@case(differs=served_here("D24"))
def host_in_upper_case(side):
    return page(side, "http://console.example.net", host="Console.Example.NET")


@case(differs={
    "opening": D("D51", 'HTTP/1.1 101', 'HTTP/1.1 400'),
})
def port_of_the_host_is_no_number(side):
    return page(side, "http://127.0.0.1", host="127.0.0.1:http")


@case(differs=REFUSED)
def a_host_is_not_allowed_for_ever(side):
    """One request's Host must not open the door to another's Origin."""
    page(side, "http://first.example.net", host="first.example.net")
    return page(side, "http://first.example.net", host="second.example.net", log=True)


@case(differs={
    "end": D("D15", 'close 1000, eof', 'eof'),
    "frames": D("D15", ['binary hello'], []),
    "node": D("D15", [''], 'not contacted'),
    "opening": D("D15", 'HTTP/1.1 101', 'HTTP/1.1 400'),
})
def no_host_at_all(side):
    return page(side, None, host=None)
