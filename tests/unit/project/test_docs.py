"""The documents say what the code does: links, error codes, messages, routes, parameters, the library's interface."""

import ast
import json
import re
import subprocess
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from incoming.callbacks import answer, payload
from incoming.core import ticket
from incoming.core.errors import TABLE, UnknownTicket
from incoming.core.extents import Extents
from incoming.core.ticket import Callback, Identity, Location, State, Ticket, TicketOptions
from incoming.handlers.backend.parameter_rules import NEW_UPLOAD
from incoming.handlers.routes import ROUTES
from incoming.monitoring.path_figures import PathTotals, figures_between
from incoming.settings.settings import KEYS, load_settings
from incoming.uploads.active_upload import MAX_EXTENTS
from incoming.wire import messages
from incoming.wire.messages import CHUNK_HEADER, Limits
from tests.support.tools import ROOT, require_tool

DOC = ROOT / "doc"
PAGES = sorted([*ROOT.glob("*.md"), *DOC.rglob("*.md")])
API = (DOC / "api.md").read_text()
PROTOCOL = (DOC / "protocol.md").read_text()
TUS = (DOC / "tus.md").read_text()
OPERATIONS = (DOC / "operations.md").read_text()
ELEMENT = (DOC / "pages.md").read_text()
JS = ROOT / "incoming" / "js"

_FENCED = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[tuple[str, str]]:
    """(page, content) of every fenced block in that language."""
    return [
        (page.name, block[3]) for page in PAGES for block in _FENCED.finditer(page.read_text()) if block[2] == language
    ]


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of all table rows between a heading and the next one."""
    start = re.search(rf"^#+ {re.escape(heading)}$", page, re.MULTILINE)
    assert start, f"no heading {heading!r}"
    rest = page[start.end() :]
    following = re.search(r"^#+ ", _FENCED.sub(lambda block: " " * len(block[0]), rest), re.MULTILINE)
    section = rest[: following.start()] if following else rest
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]


def first_cells(page: str, heading: str) -> set[str]:
    """The code names in the first column of the tables below a heading."""
    return {name for cells in rows(page, heading) for name in re.findall(r"`([^`]+)`", cells[0])}


# --- links ------------------------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {slug(heading) for heading in headings}


def links(page: Path) -> Iterator[str]:
    text = re.sub(r"`[^`\n]+`", "", _FENCED.sub("", page.read_text()))
    yield from (link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:|mailto:", link))
    yield from re.findall(r"""(?:src|href)=["'](?!https?:)([^"']+)["']""", text)


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.promise(131)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `two()`\n[a](#one-two) [b](#three) [c](gone.md) [d](page.md#one-two) ![e](no.png)\n```\n[f](x)\n```\n"
    )
    assert broken_links(page) == ["#three", "gone.md", "no.png"]


@pytest.mark.promise(131)
def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            ahead += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if link[0] != "#"]
    assert {page for page in PAGES if page.parent == DOC} <= reached
    for name in ("overview", "installation", "examples", "api", "notes", "changelog", "roadmap"):
        assert DOC / f"{name}.md" in reached


# --- errors -----------------------------------------------------------------------------------------------------------


def test_error_codes_are_those_of_the_server() -> None:
    documented = {tuple(cells[:4]) for cells in rows(API, "Error codes") if cells[0].isdigit() and int(cells[0]) < 1000}
    raised = {
        (str(code), f"`{kind('').name}`", str(kind.status), "yes" if kind.retry else "no")
        for code, kind in TABLE.items()
    }
    assert documented == raised


def test_error_codes_of_the_browser_are_documented() -> None:
    constants = re.findall(
        r"^export const ([A-Z_]+) = (\d+);", (JS / "transport" / "errors.js").read_text(), re.MULTILINE
    )
    documented = {(cells[1].strip("`"), cells[0]) for cells in rows(API, "Error codes") if cells[0].isdigit()}
    assert constants
    assert {(name.lower(), code) for name, code in constants} <= documented
    own = {code for _, code in documented if int(code) >= 1000}
    assert own == {code for _, code in constants if int(code) >= 1000}


def test_the_library_is_as_small_as_documented() -> None:
    """Rounded figures of dist/, which grow with the library."""
    figures = re.search(r"\((\d+) kB with brotli, (\d+) kB with gzip\)", API)
    assert figures
    for suffix, figure in zip((".br", ".gz"), figures.groups(), strict=True):
        size = (ROOT / f"incoming/js/dist/incoming.js{suffix}").stat().st_size
        assert abs(size / 1000 - int(figure)) < 1.5, (
            f"incoming.js{suffix} has {size} bytes, doc/api.md says {figure} kB"
        )


def test_the_library_names_every_error_that_it_can_meet_as_documented() -> None:
    source = (JS / "transport" / "errors.js").read_text()
    [table] = re.findall(r"^const NAMES = \{\n(.*?)^\};", source, re.MULTILINE | re.DOTALL)
    runs = re.findall(r'^    (\d+): "(.+)",$', table, re.MULTILINE)
    named = {(str(int(first) + i), name) for first, names in runs for i, name in enumerate(names.split())}
    documented = {(cells[0], cells[1].strip("`")) for cells in rows(API, "Error codes") if cells[0].isdigit()}
    assert named <= documented
    # Errors of other protocols, of programs and of backends never reach an upload in a browser.
    elsewhere = {"104", *map(str, range(107, 114)), "201", "202"}
    assert {code for code, _ in documented} - {code for code, _ in named} == elsewhere


def test_close_codes() -> None:
    assert messages.close_code(UnknownTicket("")) == 4200
    assert "(close 4200 unknown_ticket)" in PROTOCOL
    assert "| 4000 + code | server |" in PROTOCOL


# --- messages ---------------------------------------------------------------------------------------------------------


def client_message_types() -> set[str]:
    tree = ast.parse(Path(messages.__file__).read_text())
    [parser] = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "parse_control"]
    cases = [node for node in ast.walk(parser) if isinstance(node, ast.match_case)]
    return {case.pattern.value.value for case in cases if isinstance(case.pattern, ast.MatchValue)}  # type: ignore[attr-defined]


def server_messages() -> dict[str, dict[str, object]]:
    """One of each message that the server can send, by type."""
    upload = Ticket("id", TicketOptions("http://app/"), 0, 0, 0)
    limits = Limits(1, 2, 3, 4, 5.0)
    made = [
        messages.welcome(upload, limits),
        messages.ack([(0, 1)]),
        messages.received(Extents(), Extents()),
        messages.signed([(1, "")], 900),
        messages.unseen([1]),
        messages.state(upload),
        messages.path(figures_between(PathTotals(0.0), PathTotals(1.0), 1).to_json()),
        messages.paused(),
        messages.error(UnknownTicket("")),
        messages.ping(),
        messages.pong(),
    ]
    return {message["type"]: message for message in map(json.loads, made)}


def test_client_messages_are_documented() -> None:
    assert first_cells(PROTOCOL, "Messages from the client") >= client_message_types()
    [hello] = [cells[1] for cells in rows(PROTOCOL, "Messages from the client") if cells[0] == "`hello`"]
    fields = set(re.findall(r'message, "(\w+)"', _source_of(messages, "_hello")))
    assert {"session", "epoch", "name", "size", "last_modified", "fingerprint", "media_type", "library"} == fields
    assert fields <= set(re.findall(r"`(\w+)`", hello))


def test_server_messages_are_documented() -> None:
    encoded = set(re.findall(r'_encode\(\s*"(\w+)"', Path(messages.__file__).read_text()))
    assert encoded == set(server_messages())
    documented = {cells[0].strip("`"): cells[1] for cells in rows(PROTOCOL, "Messages from the server")}
    for kind, message in server_messages().items():
        missing = [field for field in message if field != "type" and f"`{field}`" not in documented[kind]]
        assert not missing, f"{kind}: {missing}"


UPLOAD = Ticket(
    "id",
    TicketOptions("http://app/", "s"),
    0,
    0,
    0,
    identity=Identity("a.txt"),
    location=Location("file", "/x/id"),
    part_size=8,
    reason="",
)


def test_status_is_documented() -> None:
    told = replace(UPLOAD, identity=Identity(metadata="a"), part_size=2, digest="0")
    status = messages.status(told, Limits(1, 2, 3, 4, 5.0), Extents([(0, 1)]))
    assert first_cells(PROTOCOL, "Status") == set(status)


def test_the_librarys_messages_are_the_documented_ones() -> None:
    source = (JS / "transport" / "messages.js").read_text()
    understood = set(re.findall(r'case "(\w+)":', source))
    assert understood == set(server_messages())
    assert set(re.findall(r'type: "(\w+)", *\.\.\.', source)) <= client_message_types()


def test_states_are_documented() -> None:
    assert first_cells(PROTOCOL, "States of an upload") == {str(state) for state in State}
    assert {str(state) for state, event in ticket.TRANSITIONS if event == "cancel"} == {"new", "uploading", "cancelled"}


def test_limits_of_the_protocol() -> None:
    assert f"{messages.MAX_CONTROL:,} bytes of UTF-8" in PROTOCOL
    assert f"≤ {messages.MAX_NAME} characters" in PROTOCOL
    assert f"≤ {messages.MAX_FINGERPRINT} characters" in PROTOCOL
    assert f"at most {MAX_EXTENTS:,} separate ranges" in PROTOCOL
    assert f"`{CHUNK_HEADER.pack(1, 1_048_576).hex(' ')}`" in PROTOCOL
    assert f"sub-protocol `{messages.SUBPROTOCOL}`" in PROTOCOL
    assert messages.MAX_SIZE == 2**53 - 1
    assert "2^53 - 1" in PROTOCOL


def test_exchanges_in_the_protocol_are_well_formed() -> None:
    exchange = "".join(block[3] for block in _FENCED.finditer(PROTOCOL) if "C: GET" in block[3])
    sent = re.findall(r"^C: (\{.*\})$", exchange, re.MULTILINE)
    assert sent
    assert all(messages.parse_control(text) for text in sent)
    chunks = [
        messages.parse_chunk(bytes.fromhex(text))
        for text in re.findall(r"^C: \(binary\) (.+)$", exchange, re.MULTILINE)
    ]
    acked = {tuple(pair) for text in re.findall(r'"chunks":(\[.*\])', exchange) for pair in json.loads(text)}
    assert acked == {(offset, offset + len(data)) for offset, data in chunks}
    file = bytearray(26)
    for offset, data in chunks:
        file[offset : offset + len(data)] = data
    assert file == b"abcdefghijklmnopqrstuvwxyz"


# --- HTTP -------------------------------------------------------------------------------------------------------------

DOCUMENTED_ROUTES = {
    "/backend/new_upload": ["POST /incoming/0.1/backend/new_upload"],
    "/backend/cancel_upload": ["POST /incoming/0.1/backend/cancel_upload"],
    "/backend/finish_upload": ["POST /incoming/0.1/backend/finish_upload"],
    "/frontend/upload_ws": ["/incoming/0.1/frontend/upload_ws?ticket=<ticket>"],
    "/frontend/upload/([^/]+)/whole": ["POST /incoming/0.1/frontend/upload/<ticket>/whole?hello=…"],
    "/frontend/uploads/wait": ["POST /incoming/0.1/frontend/uploads/wait"],
    "/frontend/tus/([^/]+)": ["/incoming/0.1/frontend/tus/<ticket>"],
    "/frontend/tus/([^/]+)/([0-9]{1,16}-[0-9]{1,16})": ["/incoming/0.1/frontend/tus/<ticket>/<start>-<end>"],
    "/frontend/tus/([^/]+)/([^/]+)": ["/incoming/0.1/frontend/tus/<ticket>/<ticket>"],
    "/frontend/upload/([^/]+)": ["/incoming/0.1/frontend/upload/<ticket>"],
    r"/frontend/(?:([0-9a-f]{16})/)?((?:incoming(?:-[a-z]+)?|locales/[a-z]+)\.(?:m?js(?:\.map)?|d\.m?ts))": [
        "/incoming/0.1/frontend/incoming.js",
        "/incoming/0.1/frontend/<version>/incoming.js",
        "incoming.mjs",
        "incoming.d.ts",
        "incoming.d.mts",
        "/incoming/0.1/frontend/incoming-uploader.mjs",
        "incoming-uploader.d.mts",
        "incoming-details.mjs",
        "incoming-direct.mjs",
        "incoming-transfer.mjs",
        "locales/de.mjs",
    ],
    r"/openapi\.json": ["GET /incoming/0.1/openapi.json"],
    "/metrics": ["GET /incoming/metrics"],
    r"/status(?:/(status\.css|(?:status|readable|traffic|dom|actions|address|filters|rows|detail)\.js))?": [
        "GET /incoming/status"
    ],
    "/status/now": ["GET /incoming/status/now"],
    "/status/uploads/(cancel|retry)": [
        "POST /incoming/status/uploads/cancel",
        "POST /incoming/status/uploads/retry",
    ],
    "/status/uploads/([^/]+)": ["GET /incoming/status/uploads/<id>"],
    "/status/uploads/([^/]+)/(cancel|retry)": [
        "POST /incoming/status/uploads/<id>/cancel",
        "POST /incoming/status/uploads/<id>/retry",
    ],
    "/health(?:/(live))?": ["GET /incoming/0.1/health", "GET /incoming/0.1/health/live", "/incoming/health"],
}


def test_every_route_is_documented() -> None:
    assert set(DOCUMENTED_ROUTES) == {path for path, _ in ROUTES}, "a new route belongs into the documents and here"
    for names in DOCUMENTED_ROUTES.values():
        for name in names:
            assert f"`{name}`" in API + PROTOCOL + TUS + OPERATIONS + ELEMENT


@pytest.mark.promise(20)
def test_parameters_of_new_upload_are_documented() -> None:
    taken = set(NEW_UPLOAD)
    assert len(taken) > 5
    assert first_cells(API, "`POST /incoming/0.1/backend/new_upload`") >= taken
    for name in ("cancel_upload", "finish_upload"):
        assert {"id", "backendSecret"} <= first_cells(API, f"`POST /incoming/0.1/backend/{name}`")


DELIVERY = Callback("d", cancelled=False, since=0, due_at=0, attempts=1)


def test_callback_is_documented() -> None:
    documented = first_cells(API, "The function that your backend provides")
    fields = set(re.findall(r"(?:^|&)(\w+)=", payload.form(UPLOAD, DELIVERY).decode()))
    assert {"metadata", "digest"} <= documented
    assert fields == {"id", "backendSecret", "secret", "filename", "filenameFromBrowser", "cancelled", "cancelReason"}
    assert fields <= documented
    in_json = set(json.loads(payload.json_object(UPLOAD, DELIVERY)))
    assert in_json == fields - {"secret"} | {"metadata", "digest", "test"}
    assert set(payload.headers(UPLOAD, DELIVERY, b"", 0)) - {"Content-Type", "Accept-Encoding"} <= documented
    for status in answer.BUSY_STATUSES | answer.REFUSING_STATUSES:
        assert f"{status}" in API


def test_signature_is_checked_as_documented() -> None:
    [source] = [content for page, content in snippets("python") if "is_genuine" in content and page == "api.md"]
    names: dict[str, object] = {}
    exec(source, names)
    is_genuine = names["is_genuine"]
    assert callable(is_genuine)
    body = payload.form(UPLOAD, DELIVERY)
    headers = payload.headers(UPLOAD, DELIVERY, body, int(time.time()))
    assert is_genuine(headers, body, "s")
    assert not is_genuine(headers, body + b"x", "s")
    assert not is_genuine(headers, body, "t")
    assert not is_genuine({}, body, "s")
    assert not is_genuine({"Incoming-Timestamp": "x", "Incoming-Signature": "sha256=\xe9"}, body, "s")
    assert not is_genuine(payload.headers(UPLOAD, DELIVERY, body, int(time.time()) - 3600), body, "s")


# --- the library ------------------------------------------------------------------------------------------------------


def declared() -> tuple[set[str], set[str]]:
    """Functions of `incoming` and members of an Uploader, by the published declarations."""
    source = re.sub(r"/\*.*?\*/|//[^\n]*", "", (JS / "incoming.d.ts").read_text(), flags=re.DOTALL)
    exported = set(re.findall(r"^export (?:function|const) (\w+)", source, re.MULTILINE))
    [body] = re.findall(r"^export interface Uploader \{(.*?)^\}", source, re.MULTILINE | re.DOTALL)
    return exported, set(re.findall(r"^    (?:readonly )?(\w+)[(?:]", body, re.MULTILINE))


@pytest.mark.promise(20)
def test_every_function_of_the_library_is_documented() -> None:
    exported, members = declared()
    assert {"set_server_hostname", "Uploader"} <= exported
    missing = [name for name in exported if f"### `incoming.{name}(" not in API]
    tables = ("Properties of an uploader", "Flags of an uploader", "Callbacks of an uploader")
    documented = set().union(*(first_cells(API, heading) for heading in tables))
    documented |= set(re.findall(r"^#### `(\w+)\(", API, re.MULTILINE))
    missing += sorted(members - documented)
    assert not missing
    assert not documented - members, "documented, but not there"


def test_state_messages_are_documented() -> None:
    source = (JS / "uploader" / "state_message.js").read_text()
    [table] = re.findall(r"^const ENGLISH = \{\n(.*?)^\};", source, re.MULTILINE | re.DOTALL)
    texts = [re.sub(r"\{\w+\}$", "…", text) for text in re.findall(r'^    \w+: "(.+)",$', table, re.MULTILINE)]
    section = API.partition("### State messages")[2].partition("\n###")[0]
    assert len(texts) > 8
    assert [text for text in texts if text != "…" and f"`{text}`" not in section.replace("\n", " ")] == []


def test_states_of_an_uploader_are_documented() -> None:
    [union] = re.findall(
        r"^export type UploadState =\n(.*?);$", (JS / "incoming.d.ts").read_text(), re.MULTILINE | re.DOTALL
    )
    assert first_cells(API, "States of an uploader") == set(re.findall(r'"(\w+)"', union))


def test_attributes_and_events_of_the_element_are_documented() -> None:
    source = (JS / "element" / "incoming_uploader.js").read_text()
    lists = re.findall(r"^const (?:OF_DROP_AREA|ATTRIBUTES) = \[(.*?)\];", source, re.MULTILINE | re.DOTALL)
    attributes = {name for found in lists for name in re.findall(r'"([\w-]+)"', found)}
    assert len(attributes) > 8
    assert first_cells(ELEMENT, "Attributes") - {'<input type="file">'} >= attributes | {"name", "lang"}
    declarations = (JS / "incoming-uploader.d.ts").read_text()
    events = set(re.findall(r'"(incoming-\w+)": CustomEvent', declarations)) - {"incoming-chosen"}
    assert events <= first_cells(ELEMENT, "Properties and events")


def test_parts_and_properties_of_the_element_for_styling_are_documented() -> None:
    source = "".join(path.read_text() for path in sorted((JS / "element").rglob("*.js")))
    section = ELEMENT.partition("## Appearance")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([\w-]+)`", section)) - {"script-src", "connect-src", "wss"}
    properties = set(re.findall(r"var\((--incoming-[\w-]+)", source))
    assert properties == {name for name in documented if name.startswith("--")}
    for part in {name for name in documented if not name.startswith("--")}:
        assert re.search(
            rf'part: ["`][^"`]*\b{part}\b|part\.add\("{part}"\)|#button\("{part}"|^ +{part}: ', source, re.MULTILINE
        ), part


def test_languages_of_the_element_are_documented() -> None:
    section = ELEMENT.partition("## Languages")[2].partition("\n## ")[0]
    names = [path.read_text().partition("in ")[2].partition(".\n")[0] for path in sorted((JS / "locales").glob("*.js"))]
    assert len(names) > 20
    assert [name for name in names if name.split(" (bokmål)")[0] not in " ".join(section.split())] == []


def test_functions_and_options_of_a_queue_are_documented() -> None:
    source = re.sub(r"/\*.*?\*/", "", (JS / "incoming.d.ts").read_text(), flags=re.DOTALL)
    documented = first_cells(API, "`incoming.Queue(get_ticket, options)`")
    names = {name.partition("(")[0] for name in documented}
    for interface in ("QueueOptions", "Queue"):
        [body] = re.findall(rf"^export interface {interface} \{{(.*?)^\}}", source, re.MULTILINE | re.DOTALL)
        members = set(re.findall(r"^    (\w+)[?(:]", body, re.MULTILINE))
        assert members
        assert members <= names


# --- snippets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "source"), snippets("python"))
def test_python_snippets_compile(page: str, source: str) -> None:
    """Some are excerpts of a function."""
    compile("def excerpt():\n" + textwrap.indent(textwrap.dedent(source), "    "), page, "exec")


@pytest.mark.parametrize(("page", "source"), snippets("json"))
def test_json_snippets_parse(page: str, source: str) -> None:
    json.loads(source)


@pytest.mark.parametrize(("page", "source"), snippets("js"))
def test_javascript_snippets_parse(page: str, source: str) -> None:
    command = [require_tool("node"), "--input-type=module", "--check", "-"]
    subprocess.run(command, input=source, text=True, check=True, timeout=20)


@pytest.mark.parametrize(("page", "source"), snippets("sh"))
def test_shell_snippets_parse(page: str, source: str) -> None:
    subprocess.run([require_tool("bash"), "-n"], input=source, text=True, check=True, timeout=20)


@pytest.mark.parametrize(("page", "source"), snippets("yaml"))
def test_yaml_snippets_are_configurations(page: str, source: str, tmp_path: Path) -> None:
    """Those of Kubernetes are tested by tests/system/deployment/test_helm.py."""
    assert yaml.safe_load(source)
    if page == "kubernetes.md":
        return
    (tmp_path / "incoming.yaml").write_text(source)
    load_settings(["--config", str(tmp_path / "incoming.yaml")], {})


def test_keys_named_in_the_pages_exist() -> None:
    written = {name for page in PAGES for name in re.findall(r"`([a-z]+(?:_[a-z]+)+):", page.read_text())}
    assert {"dir_mode", "log_format"} <= written
    assert written - {"some_key"} <= set(KEYS)


def _source_of(module: ModuleType, function: str) -> str:
    source = Path(str(module.__file__)).read_text()
    [node] = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == function]
    return ast.get_source_segment(source, node) or ""
