"""The snippets of doc/clients.md and other pages, so that what is shown there is what is run."""

import re

from tests.support.tools import ROOT


def snippet(name: str, page: str = "clients.md") -> str:
    """The fenced block behind `<!-- test: name -->`."""
    text = (ROOT / "doc" / page).read_text()
    [found] = re.findall(rf"^<!-- test: {name} -->\n```\w+\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)
