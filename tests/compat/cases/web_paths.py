"""What a path names below the web root, in every spelling of it: beside `http`, where whole answers are compared.

An answer here is one text: the status, and behind it where it leads or what was served.
"""

from cases.common import get
from observation import D
from registry import case

APP = "200 export default 1;"


def outcome(side, target, **parts):
    """`200 <file's text>`, `301 to <location>`, another status, or that there was no answer."""
    answer = get(side, target, **parts)
    if "status" not in answer:
        return "no answer"
    code = answer["status"].split()[1]
    if code == "200":
        return f"200 {answer.get('body', '')}".strip()
    return f"{code} to {answer['header location']}" if "header location" in answer else code


def outcomes(side, targets):
    return {target: outcome(side, target) for target in targets}


def listed(number, ours, answers):
    """A difference for each target of `answers`, which are Nova's."""
    return {target: D(number, nova, ours) for target, nova in answers.items()}


@case()
def index_html_comes_before_index_htm(side):
    return outcomes(side, ["/both/", "/both", "/both/index.htm"])


BROKEN_ESCAPES = {"/app.js%": "404", "/app.js%2": "404", "/app.js%zz": "404", "/100%.txt": "200 percent"}


@case(differs=listed("D81", "400", BROKEN_ESCAPES))
def names_in_escapes(side):
    return outcomes(side, [*BROKEN_ESCAPES, "/%61pp.js", "/app%2Ejs", "/app%2ejs", "/%61%70%70%2e%6a%73", "/pl%61in/file.txt",
                           "/plain%2ffile.txt", "/plain%2Ffile.txt", "/app%2525js", "/app.js%20", "/app.js+", "/APP.JS",
                           "/a%20b.txt", "/a+b.txt", "/%C3%A4.txt", "/%c3%a4.txt", "/%E4.txt", "/100%25.txt"])


@case(differs=listed("D82", "400", {"?a=b": "301 to /?a=b"}))
def queries_and_fragments(side):
    return outcomes(side, ["/app.js?", "/app.js?a=b?c=d", "/app.js#top", "/app.js#", "/app.js?a=b#top", "/app.js#top?a=b",
                           "/app.js%3fa=b", "/app.js%3Fa=b", "/app.js%23top", "/app.js;a=b", "/app.js&a=b", "?a=b", "/?a=b",
                           "/#top", "/plain/?a=b", "/app.js?../../secret", "/app.js?%00", "/app.js?%0d%0aX-A:%201",
                           "/app.js?%5c"])


LEADING_SLASHES = {
    "//example.com": "404", "//plain": "301 to /plain/", "///plain": "301 to /plain/",
    "////example.com/%2e%2e": "301 to /example.com/%2e%2e/", "//%5cexample.com/%2F..": "301 to /%5cexample.com/%2F../",
    "/%2fexample.com/%2F..": "301 to /%2fexample.com/%2F../", "/%2f%2fexample.com/%2F..": "301 to /%2f%2fexample.com/%2F../",
}
BACKSLASHES = {
    "/\\example.com/%2F..": "301 to /\\example.com/%2F../", "/\\\\example.com/%2F..": "301 to /\\\\example.com/%2F../",
    "/%5cexample.com/%2F..": "301 to /%5cexample.com/%2F../", "/%5C%5Cexample.com/..": "301 to /%5C%5Cexample.com/../",
    "/plain%0d%0aX-A:%201": "404", "/plain%0aX-A:%201": "404", "/plain%0d": "404", "/plain%09": "404",
}
STEPS = {path: f"301 to {path}/" for path in (
    "/./plain", "/short/../plain", "/%2e/plain", "/%2e%2e/plain", "/short%2f..%2fplain", "/plain/.", "/plain/..", "/plain/%2e",
    "/plain/%2e%2e", "/./%2fexample.com/%2F..")}
FRAGMENTS = {"/plain#top": ("301 to /plain/#top", "301 to /plain/"), "/plain?a=b#top": ("301 to /plain/?a=b#top", "301 to /plain/?a=b")}


@case(differs={
    **listed("D11", "400", LEADING_SLASHES), **listed("D79", "400", BACKSLASHES), **listed("D83", "404", STEPS),
    **listed("D84", "404", {"/plain%2f": "301 to /plain%2f/"}), "/plain%00": D("D16", "no answer", "400"),
    **{path: D("D85", *both) for path, both in FRAGMENTS.items()},
})
def redirects_in_every_spelling(side):
    return outcomes(side, [*LEADING_SLASHES, *BACKSLASHES, *STEPS, *FRAGMENTS, "/plain%2f", "/plain%00", "/plain", "/pl%61in",
                           "/plain?", "/plain?a=b&c=%2F", "/plain%3fa=b", "/plain?%0d%0aX-A:%201", "/linked", "/linked?a=b"])


@case(differs={
    **listed("D84", "404", {"/app.js%2f": APP, "/app.js%2F": APP}),
    **listed("D83", "404", {"/app.js/.": APP, "/app.js/%2e": APP, "/app.js/..": "301 to /app.js/../"}),
})
def slashes_behind_a_name(side):
    return outcomes(side, ["/app.js/", "/app.js%2f", "/app.js%2F", "/app.js//", "/app.js/.", "/app.js/%2e", "/app.js/..",
                           "/missing/", "/missing%2f", "/linked.js/", "/linked/file.txt", "/linked/", "/linked/file.txt/"])


NO_PATHS = {"*": "404", "app.js": APP, "plain": "301 to plain/", "../secret": "404", "127.0.0.1:80": "404",
            "file:///app.js": "404", "file:///secret": "404"}


@case(differs={
    **listed("D82", "400", NO_PATHS),
    **{f"{scheme}127.0.0.1/app.js": D("D34", "404", APP) for scheme in ("https://", "HTTP://")},
    **{f"http://127.0.0.1{path}": D("D34", "404", "200 <h1>index</h1>") for path in ("", "/")},
})
def targets_that_are_no_path(side):
    return outcomes(side, [*NO_PATHS, "http://127.0.0.1", "http://127.0.0.1/", "https://127.0.0.1/app.js",
                           "HTTP://127.0.0.1/app.js", "http://127.0.0.1/missing"])


@case(differs={"no zone": D("D86", "304", "200 dated")})
def conditions(side):
    """`If-Modified-Since` beside `If-None-Match`, and dates of every form."""
    late, early = "Fri, 01 Jan 2038 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"
    asked = {
        "written": [("If-Modified-Since", "Sat, 01 Jan 2022 00:00:00 GMT")],
        "a second earlier": [("If-Modified-Since", "Fri, 31 Dec 2021 23:59:59 GMT")],
        "another etag": [("If-Modified-Since", late), ("If-None-Match", '"other"')],
        "an empty etag": [("If-Modified-Since", late), ("If-None-Match", "")],
        "an etag alone": [("If-None-Match", '"other"')],
        "no date": [("If-Modified-Since", "yesterday")],
        "no zone": [("If-Modified-Since", "Fri, 01 Jan 2038 00:00:00")],
        "another zone": [("If-Modified-Since", "Fri, 01 Jan 2038 00:00:00 +0100")],
        "RFC 850": [("If-Modified-Since", "Friday, 01-Jan-38 00:00:00 GMT")],
        "asctime": [("If-Modified-Since", "Fri Jan  1 00:00:00 2038")],
        "twice": [("If-Modified-Since", late), ("If-Modified-Since", early)],
        "with a range": [("If-Modified-Since", early), ("Range", "bytes=0-1")],
    }
    return {name: outcome(side, "/dated.txt", fields=fields) for name, fields in asked.items()}


@case()
def ranges(side):
    """Ranges of every kind: the whole file."""
    return {value: outcome(side, "/app.js", fields=[("Range", value)]) for value in
            ("bytes=0-", "bytes=-1", "bytes=5-2", "bytes=0-1,3-4", "bytes=99999-", "lines=1-2", "x")}


# One escape is undone; what is escaped twice, overlong or full-width is a name like others.
DOTS, NO_DOTS = (".", "%2e", "%2E"), ("%252e", "%c0%ae", "%ef%bc%8e")
SLASHES, NO_SLASHES = ("/", "%2f", "%2F", "//", "/./", "/%2e/"), ("%252f", "%c0%af")
BACK = ("\\", "%5c", "%5C")
ABOVE, BELOW = ("/{}secret",), ("/{}app.js", "/plain/{}app.js")


def stepped(dots, slashes, targets):
    return [target.format(f"{dot}{dot}{slash}") for dot in dots for slash in slashes for target in targets]


@case(differs={
    **listed("D83", "404", dict.fromkeys(stepped(DOTS, SLASHES, BELOW), APP)),
    **listed("D79", "400", dict.fromkeys(stepped(DOTS + NO_DOTS, BACK, ABOVE + BELOW), "404")),
})
def a_step_up_in_every_spelling(side):
    """What is above the root is found in no spelling."""
    return outcomes(side, stepped(DOTS + NO_DOTS, SLASHES + NO_SLASHES + BACK, ABOVE + BELOW))
