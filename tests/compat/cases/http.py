"""The web files, and everything that is no upgrade."""

from cases.answers import ADDED, NO_SNIFFING, SERVER, bare_page, not_allowed, page, refused_here, served
from cases.common import get, raw, request
from observation import ANY, D
from registry import case

TEXTS = {"vnc_lite.html": "text/html", "app.js": "text/javascript", "module.mjs": "text/javascript", "style.css": "text/css"}
MISSING = page("File not found", "Not Found")
REDIRECTED = {
    **SERVER, "header cache-control": D("D10", ours="no-store"), "header referrer-policy": D("D10", ours="no-referrer"),
    "header connection": D("D10", ours="keep-alive"),
}
# Nova's answer leads to a path of its own too, but by way of what http.server makes of the slashes.
TWO_SLASHES = {
    **SERVER, **NO_SNIFFING, "status": D("D11", "HTTP/1.1 301", "HTTP/1.1 400"),
    "phrase": D("D11", "Moved Permanently", "Bad Request"), "header location": D("D11", "/example.com/%2F../"),
    "body": D("D11", "", ANY), "header content-length": D("D11", "0", ANY), "then": D("D11", "kept", "closed"),
    "header content-type": D("D11", ours="text/html;charset=utf-8"), "header connection": D("D11", ours="close"),
}
ABSOLUTE = {
    **ADDED, "status": D("D34", "HTTP/1.1 404", "HTTP/1.1 200"), "phrase": D("D34", "File not found", "OK"),
    "body": D("D34", ANY, ANY), "header content-length": D("D34", ANY, ANY), "then": D("D34", "closed", "kept"),
    "header content-type": D("D34", "text/html;charset=utf-8", "text/javascript; charset=utf-8"),
    "header connection": D("D34", "close", "keep-alive"), "header last-modified": D("D34", ours="<date>"),
}


@case(differs=served("text/javascript"))
def get_a_file(side):
    return get(side, "/app.js")


@case(differs=served("text/javascript"))
def head_of_a_file(side):
    return get(side, "/app.js", method="HEAD")


@case(differs=served("text/html"))
def query_is_no_part_of_the_name(side):
    return get(side, "/vnc_lite.html?path=%3Ftoken%3D00000000-0000-0000-0000-000000000000&title=a(b)")


@case(differs=served("text/html"))
def root_is_its_index(side):
    return get(side, "/")


@case(differs=served("text/html"))
def index_htm(side):
    return get(side, "/short/")


@case(differs=page())
def directory_without_index(side):
    """404, and never a listing."""
    return get(side, "/plain/")


@case(differs=REDIRECTED)
def directory_without_slash(side):
    return get(side, "/plain?a=b")


@case(differs=TWO_SLASHES)
def redirect_never_leaves_the_host(side):
    return get(side, "//example.com/%2F..")


@case(differs=TWO_SLASHES)
def redirect_with_three_slashes(side):
    return get(side, "///example.com/%2F..")


@case(differs=MISSING)
def dots_do_not_leave_the_root(side):
    return get(side, "/../secret")


@case(differs=MISSING)
def mixed_dots_do_not_leave_the_root(side):
    return get(side, "/plain/%2E./.%2e%2Fsecret")


@case(differs={**page("File not found", "Bad Request", "D79"), "status": D("D79", "HTTP/1.1 404", "HTTP/1.1 400")})
def backslashes_do_not_leave_the_root(side):
    return get(side, "/..%5csecret")


@case(differs=served("text/javascript"))
def links_are_followed(side):
    return get(side, "/linked.js")


@case(differs=MISSING)
def missing_file(side):
    return get(side, "/missing")


@case(differs=MISSING)
def file_with_a_slash(side):
    return get(side, "/app.js/")


@case(differs=refused_here("D35", "application/octet-stream", "HTTP/1.1 404", "Not Found"))
def hidden_file(side):
    return get(side, "/.git/config")


@case(differs={**served(), "header last-modified": D("D10", ours="<date>")})
def not_modified(side):
    return get(side, "/app.js", fields=[("If-Modified-Since", "Fri, 01 Jan 2038 00:00:00 GMT")])


@case(differs=served("text/javascript"))
def modified(side):
    return get(side, "/app.js", fields=[("If-Modified-Since", "Thu, 01 Jan 1970 00:00:00 GMT")])


@case(differs=served("text/javascript"))
def ranges_are_ignored(side):
    return get(side, "/app.js", fields=[("Range", "bytes=0-1")])


@case(differs={name: D("D17", media_type, media_type + "; charset=utf-8") for name, media_type in TEXTS.items()})
def types(side):
    """What noVNC and spice-html5 need."""
    names = ("vnc_lite.html", "app.js", "module.mjs", "style.css", "picture.svg", "picture.png", "icon.ico", "data.json",
             "code.wasm", "bell.oga", "bell.mp3", "font.woff2", "unknown.qqq")
    return {name: get(side, "/" + name, method="HEAD").get("header content-type") for name in names}


@case(differs=MISSING)
def connection_is_kept(side):
    """Two files and a missing one on one connection."""
    return raw(side, request("/app.js"), request("/style.css"), request("/missing"))


@case(differs=served("text/javascript", "close"))
def connection_close(side):
    return get(side, "/app.js", fields=[("Connection", "close")])


@case(differs=served("text/javascript", "close"))
def http_1_0(side):
    return get(side, "/app.js", version="HTTP/1.0")


@case(differs=bare_page("D40", "HTTP/1.1 505", "HTTP Version Not Supported"))
def http_2_0(side):
    return get(side, "/app.js", version="HTTP/2.0")


@case(differs=bare_page("D40", "HTTP/1.1 400", "Bad Request"))
def version_that_is_none(side):
    return get(side, "/app.js", version="HTTP/x")


@case(differs=not_allowed("POST"))
def method_post(side):
    return get(side, "/app.js", method="POST")


@case(differs=not_allowed("get"))
def method_in_lower_case(side):
    return get(side, "/app.js", method="get")


@case(differs=ABSOLUTE)
def absolute_form(side):
    return get(side, "http://127.0.0.1/app.js")


@case(differs=page("Bad request syntax ('GET / one two HTTP/1.1')", "Bad Request"))
def malformed_request_line(side):
    return raw(side, b"GET / one two HTTP/1.1\r\nHost: h\r\n\r\n")


@case(differs=page("Request-URI Too Long", "URI Too Long"))
def request_line_too_long(side):
    return get(side, "/" + 66000 * "a")


@case(differs={"status": D("D14", "HTTP/1.1 404", "HTTP/1.1 414")})
def request_line_of_20_000_bytes(side):
    return {"status": get(side, "/" + 20000 * "a").get("status")}


@case(differs=page("Too many headers", "Request Header Fields Too Large"))
def too_many_fields(side):
    return get(side, "/app.js", fields=[(f"X-{number}", "y") for number in range(101)])


@case(differs={key: value for key, value in bare_page("D16", "HTTP/1.1 400", "Bad Request").items() if key != "text"})
def zero_byte_in_the_path(side):
    return get(side, "/app%00.js")


@case(differs=refused_here("D15"))
def body_is_not_the_next_request(side):
    """A body that looks like a request."""
    hidden = request("/style.css")
    first = request("/app.js", fields=[("Content-Length", str(len(hidden)))])
    return raw(side, first + hidden)


@case(differs={"first": D("D62", "HTTP/1.1 100", "HTTP/1.1 200")})
def expectation(side):
    """A client that asks for 100 before it sends a body, and has none to send."""
    return {"first": get(side, "/app.js", fields=[("Expect", "100-continue")])["status"]}


@case(differs={"first": D("D62", "HTTP/1.1 100", "HTTP/1.1 400")})
def expectation_of_a_body(side):
    """The same with a body, which Nova asks for and never reads."""
    fields = [("Expect", "100-continue"), ("Content-Length", "7")]
    return {"first": get(side, "/app.js", fields=fields)["status"]}


@case(differs=refused_here("D15"))
def bare_line_feeds(side):
    return get(side, "/app.js", end="\n")


@case(differs=refused_here("D15"))
def folded_field(side):
    return raw(side, b"GET /app.js HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n 2\r\n\r\n")


@case(differs=refused_here("D15"))
def two_hosts(side):
    return get(side, "/app.js", fields=[("Host", "other")])


@case(differs=refused_here("D15"))
def no_host(side):
    return get(side, "/app.js", host=None)


@case(differs={**page(), "header allow": D("D13", ours="")})
def serial_proxy_has_no_web_server(side):
    return get(side, "/", kind="serial")


@case(differs={**page(head=True), "header allow": D("D13", ours="")})
def serial_proxy_and_head(side):
    return get(side, "/", kind="serial", method="HEAD")


@case(differs=served("text/html"))
def spice_proxy_serves_files(side):
    return get(side, "/spice_auto.html", kind="spice")
