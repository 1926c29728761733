"""nova.conf: which files are read, how they are read, and what wins.

Most cases look at a value through the text `Can not find html/js files at VALUE.`, which both sides say about a web
root that is not there.
"""

import re

from cases.command_line import WORKERS, outcome, started
from observation import ANY, D
from registry import case

NO_SECTION = ("Failed to parse <dir>/configuration.assignment_without_section/nova.conf: at "
              "<dir>/configuration.assignment_without_section/nova.conf:1, Section must be started before assignment: {}")
OLD_HOST = ('Deprecated: Option "novncproxy_host" from group "DEFAULT" is deprecated. Use option "novncproxy_host" from '
            'group "vnc".')


class Files:
    """Configuration files of one case and side."""

    def __init__(self, side):
        self.directory = side.directory / side.case.replace("::", ".")
        self.directory.mkdir()

    def write(self, name, *lines):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines) + b"\n")
        return str(path)


def read(side, *lines, arguments=(), env=None):
    """What becomes of one file of these lines."""
    path = Files(side).write("nova.conf", *lines)
    return outcome(side.run(["--config-file", path, *arguments], env=env))


@case(differs=WORKERS)
def default_files(side):
    """~/.nova/nova.conf, then ~/nova-novncproxy.conf, which overrides it."""
    files = Files(side)
    files.write(".nova/nova.conf", "[DEFAULT]", "web = /from-nova-conf", "[vnc]", "novncproxy_host = 127.0.0.1")
    files.write("nova-novncproxy.conf", "[DEFAULT]", "web =")
    return started(side, [], env={"HOME": str(files.directory)})


@case()
def a_named_file_suppresses_the_default_ones(side):
    """... but not the default directories."""
    files = Files(side)
    files.write(".nova/nova.conf", "[vnc]", "novncproxy_host = 127.0.0.9")
    files.write(".nova/nova.conf.d/10.conf", "[DEFAULT]", "web = /from-the-directory")
    named = files.write("other.conf", "[DEFAULT]", "web = /from-the-file")
    return outcome(side.run(["--config-file", named], env={"HOME": str(files.directory)}))


@case()
def directories_are_read_in_the_order_of_names(side):
    """Only *.conf, and no hidden file."""
    files = Files(side)
    files.write("d/20.conf", "[DEFAULT]", "web = /20")
    files.write("d/3.conf", "[DEFAULT]", "web = /3")
    files.write("d/9.ini", "[DEFAULT]", "web = /ini")
    files.write("d/.99.conf", "[DEFAULT]", "web = /hidden")
    return outcome(side.run(["--config-file", side.world.empty_conf, "--config-dir", f"{files.directory}/d"]))


@case()
def a_later_file_overrides_an_earlier_flag(side):
    return read(side, "[DEFAULT]", "web = /from-the-file")


@case()
def an_earlier_flag_is_overridden(side):
    path = Files(side).write("nova.conf", "[DEFAULT]", "web = /from-the-file")
    return outcome(side.run(["--web", "/from-the-flag", "--config-file", path]))


@case()
def a_later_flag_wins(side):
    return read(side, "[DEFAULT]", "web = /from-the-file", arguments=["--web", "/from-the-flag"])


@case()
def there_are_no_comments_behind_values(side):
    return read(side, "[DEFAULT]", "; a comment", "# another", "web = /a # b")


@case()
def outer_quotes_are_dropped_once(side):
    return read(side, "[DEFAULT]", "web = \"'/a'\"")


@case()
def colon_separates_too(side):
    return read(side, "[DEFAULT]", "web: /a=b")


@case(differs={"more": D("D37", ours="(option novncproxy_port from [vnc] in <dir>/configuration.section_names_have_no_case/"
                                 "nova.conf)")})
def section_names_have_no_case(side):
    """... but DEFAULT has, and keys have."""
    return read(side, "[default]", "web = /lower", "[DEFAULT]", "Web = /upper", "web = /right", "[VNC]",
                "novncproxy_port = 70000")


@case()
def the_last_duplicate_wins(side):
    return read(side, "[DEFAULT]", "web = /first", "[vnc]", "[DEFAULT]", "web = /second", "web = /third")


@case()
def continuation_lines(side):
    return read(side, "[DEFAULT]", "web = /a", "  b", "\tc")


@case()
def indented_line_without_a_value(side):
    return read(side, "[DEFAULT]", "", "  web = /a")


@case()
def line_that_assigns_nothing(side):
    return read(side, "[DEFAULT]", "web")


@case()
def section_that_does_not_end(side):
    return read(side, "[DEFAULT] # all", "web = /a")


@case(differs={"says": D("D37", NO_SECTION.format("''"), NO_SECTION.format("'web = /a'"))})
def assignment_without_section(side):
    return read(side, "web = /a")


@case()
def windows_line_ends(side):
    return read(side, b"[DEFAULT]\r", b"web = /a\r")


@case(differs={"status": D("D36", 1, 255), "says": D("D36", ANY, "Can not find html/js files at /a.")})
def byte_order_mark(side):
    return read(side, b"\xef\xbb\xbf[DEFAULT]", "web = /a")


@case(differs={"more": D("D37", ours="(option ssl_only from [DEFAULT] in <dir>/configuration.booleans/nova.conf)")})
def booleans(side):
    return read(side, "[DEFAULT]", "ssl_only = maybe")


@case()
def substitution(side):
    return read(side, "[DEFAULT]", "cert = /c", "web = /$cert/${vnc.novncproxy_host}/$$x/\\$y/$1", "[vnc]",
                "novncproxy_host = h")


@case(differs={"status": D("D06", 1, 255), "says": D("D06", "no such option nowhere in group [DEFAULT]",
                                                   "Can not find html/js files at /$nowhere.")})
def substitution_of_the_unknown(side):
    return read(side, "[DEFAULT]", "web = /$nowhere")


@case()
def environment(side):
    """Below the command line, above files."""
    return read(side, "[DEFAULT]", "web = /from-the-file", env={"OS_DEFAULT__WEB": "/from-the-environment"})


@case()
def flag_beats_environment(side):
    return outcome(side.run(["--config-file", side.world.empty_conf, "--web", "/from-the-flag"],
                            env={"OS_DEFAULT__WEB": "/from-the-environment"}))


@case()
def unknown_groups_and_options_are_ignored(side):
    return read(side, "[DEFAULT]", "unknown = 1", "web = /a", "[unknown]", "more = 2", "[vnc]", "enabled = perhaps")


@case(differs={"log": D("D38", [], [OLD_HOST]), "stderr": D("D38", [OLD_HOST], [])})
def deprecated_group(side):
    """[DEFAULT] novncproxy_host, with a warning."""
    path = Files(side).write("nova.conf", "[DEFAULT]", "web =", "novncproxy_host = 127.0.0.1")
    launched = side.launch(["--config-file", path])
    launched.serving()
    launched.stop()
    found = {stream: re.findall("Deprecated: .*", text)
             for stream, text in (("log", launched.out()), ("stderr", launched.err()))}
    return {"listens": f"Listen on 127.0.0.1:{launched.port}" in launched.out(), **found}
