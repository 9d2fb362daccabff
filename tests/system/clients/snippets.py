"""The snippets of doc/clients.md, so that what is shown there is what is run."""

import re

from tests.support.tools import ROOT

_PAGE = (ROOT / "doc" / "clients.md").read_text()


def snippet(name: str) -> str:
    """The fenced block behind `<!-- test: name -->`."""
    [found] = re.findall(rf"^<!-- test: {name} -->\n```\w+\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    return str(found)
