"""Example web app 2: the page asks for a ticket whenever a file is chosen; the app takes its time with each file.

Two things differ from example 1. Tickets are asked for by the page's script (request_upload), so there can be many. And
the Incoming!! server is told "wait" when a file has arrived; when the app has dealt with the file, it calls the server
(take_file_and_report). doc/examples.md walks through all of it.
"""

import logging
import sys
import threading
import time
import uuid
from pathlib import Path

import bottle
import click

# webapp is beside this example's folder; incoming is the project itself, if it is not installed.
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(2, str(Path(__file__).resolve().parents[2]))

from webapp.command_line import CONTEXT_SETTINGS, Settings, app_options
from webapp.pages import download, download_url, form_bytes, human_size, new_app, page, plain_text, serve
from webapp.tickets import Ticket, Tickets
from webapp.uploads_folder import UploadsFolder

from incoming.client import (
    ForeignPath,
    Handover,
    NotGenuine,
    NotTheServer,
    UnknownUpload,
    Unreachable,
    UploadError,
    take_file,
)
from incoming.client import Tickets as IncomingServer

# The Incoming!! server waits for a day, unless it is told otherwise. There is no use in trying for longer.
GIVE_UP_AFTER_S = 24 * 60 * 60
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 30.0

HERE = Path(__file__).resolve().parent

app = new_app()
settings: Settings  # these seven are set by main()
server: IncomingServer
patient_server: IncomingServer
tickets: Tickets
uploads: UploadsFolder
handover: Handover
min_delay_s: float


@app.get("/")
def main_page():
    """The app's page. Everything else is done by the element and the script in it."""
    return page(HERE, settings)


@app.get("/api/frontend/request_upload")
def request_upload():
    """Get a ticket from the Incoming!! server and pass it on to our page."""
    secret = str(uuid.uuid4())
    try:
        upload_id = server.new_upload(
            f"http://{settings.internal_app_host}/api/backend/upload_finished",
            secret=secret,
            removeFileWhenFinished=False,
            testCallback=True,
        )
    except (UploadError, Unreachable, NotTheServer) as error:
        logging.error("no ticket: %s", error)
        bottle.abort(500, f"incoming!! error: {error}")

    tickets.add(Ticket(id=upload_id, secret=secret, filename=bottle.request.query.filename))
    return plain_text(upload_id)


@app.post("/api/backend/upload_finished")
def upload_finished():
    """The Incoming!! server calls this when a file has arrived, or when an upload was cancelled.

    It calls again when it has not got our answer; then nothing is done a second time.
    """
    try:
        callback = handover.verify(bottle.request.headers, form_bytes())
    except UnknownUpload:
        bottle.abort(404, "There is no upload with that id.")
    except NotGenuine as error:
        logging.warning("somebody called with a wrong secret: %s", error)
        bottle.abort(418, "You are not the Incoming!! server. I am a teapot.")
    if callback.is_test:  # the server tries whether it can call us; see testCallback
        return plain_text("done")
    ticket = tickets.find(callback.id)
    return plain_text(ticket.answer if ticket.answer is not None else begin_taking(ticket, callback))


def begin_taking(ticket, callback):
    """Start what is to be done with the file, in a thread; returns what the Incoming!! server is to be told now."""
    if callback.cancelled:
        logging.info("upload %s was cancelled: %r", ticket.id, callback.cancel_reason)
        tickets.close(ticket, "")  # any answer would do
        return ""
    name = tickets.reserve_name(ticket, uploads.free_names(ticket.filename))
    try:
        arrived = handover.file_of(callback, uploads.path(name))
    except ForeignPath as error:
        logging.error("upload %s refused: %s", ticket.id, error)
        bottle.abort(400, "This is not where the app expects uploaded files.")
    if tickets.begin_work(ticket, arrived):
        start_work(ticket, arrived, name)
    return "wait"


def start_work(ticket, arrived, name):
    """Start a thread. The ticket says what to do, so the work survives the end of the app; see main()."""
    threading.Thread(target=take_file_and_report, args=(ticket, arrived, name), daemon=True).start()


def take_file_and_report(ticket, arrived, name):
    """Move the file to our own folder, pretend that this is hard work, and tell the Incoming!! server."""
    enough_work_done = time.monotonic() + min_delay_s
    keep_trying("take the file", ticket, lambda: take_file(arrived, uploads.path(name)))
    logging.info("upload %s is now %r", ticket.id, name)
    time.sleep(max(0.0, enough_work_done - time.monotonic()))
    report_finished(ticket)
    tickets.close(ticket, "done")


def report_finished(ticket):
    """Tell the Incoming!! server that we have the file; it tells the browser. Tried again for as long as it waits."""
    try:
        patient_server.finish(ticket.id, secret=ticket.secret)
        logging.info("upload %s is finished", ticket.id)
    except (UploadError, NotTheServer) as error:  # it does not know the upload any more, for example
        logging.error("upload %s: the Incoming!! server says: %s", ticket.id, error)


def keep_trying(what, ticket, action):
    """Call `action` until it raises no OSError, ever more patiently."""
    give_up_at = time.monotonic() + GIVE_UP_AFTER_S
    pause = FIRST_PAUSE_S
    while True:
        try:
            return action()
        except OSError as error:
            if time.monotonic() > give_up_at:
                raise
            logging.warning("upload %s: cannot %s, next try in %g s: %s", ticket.id, what, pause, error)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_S)


@app.get("/api/frontend/uploads")
def list_of_uploads():
    """The uploaded files as JSON, for our page to show."""
    return {
        "uploads": [
            {"name": file.name, "size": human_size(file.size), "url": download_url(file)} for file in uploads.files()
        ]
    }


@app.get("/uploads/<filename:path>")
def uploaded_file(filename):
    """Let people download what was uploaded."""
    return download(uploads, filename)


@click.command(context_settings=CONTEXT_SETTINGS)
@app_options(default_port=4002)
@click.option(
    "--delay",
    type=click.FloatRange(min=0),
    default=10,
    show_default=True,
    help="Seconds that the app seems to work on each file before it tells the Incoming!! server that it has it.",
)
def main(given, delay):
    """Example web app 2 for Incoming!!: upload many files, with pause and cancel. Files go to ./uploads."""
    global settings, server, patient_server, tickets, uploads, handover, min_delay_s
    settings, tickets, uploads = given, Tickets(Path("tickets.sqlite")), UploadsFolder(Path("uploads"))
    url = f"http://{settings.internal_incoming_host}"
    server = IncomingServer(url, token=settings.backend_token, retry_for=0)  # the user sees at once that it is away
    patient_server = IncomingServer(url, token=settings.backend_token, retry_for=GIVE_UP_AFTER_S)
    handover = Handover(settings.incoming_storage_dir, tickets.secret_of)
    handover.clean(uploads.directory)
    min_delay_s = delay
    for ticket in tickets.waiting():  # the app was stopped in the middle of the work
        start_work(ticket, Path(ticket.arrived), ticket.name)
    serve(app, settings)


if __name__ == "__main__":
    main()
