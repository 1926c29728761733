"""The fenced blocks of the pages in docs/."""

import re

from host import ROOT


def blocks(page, section, language):
    """The blocks of this language under the heading `section`, up to the next heading, in their order."""
    text = (ROOT / "docs" / page).read_text()
    # A comment in a block may look like a heading.
    pieces = re.split(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    heading, found = None, []
    for at, piece in enumerate(pieces):
        if at % 3 == 0:
            headings = re.findall(r"^#+ (.*)$", piece, flags=re.MULTILINE)
            heading = headings[-1] if headings else heading
        elif at % 3 == 2 and heading == section and pieces[at - 1] == language:
            found.append(piece)
    assert found, f"{page} has no {language} under {section}"
    return found
