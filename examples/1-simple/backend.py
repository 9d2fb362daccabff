"""Example web app 1: the page comes with an upload ticket in it, and one file can be uploaded with it.

Three things are needed to use Incoming!!: ask for a ticket (main_page), give it to the browser (frontend_tmpl.html),
and take the file when it has arrived (upload_finished). doc/examples.md walks through all of it.
"""

import logging
import sys
import uuid
from pathlib import Path

import bottle
import click

# webapp is beside this example's folder; incoming is the project itself, if it is not installed.
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(2, str(Path(__file__).resolve().parents[2]))

from webapp.command_line import CONTEXT_SETTINGS, Settings, app_options
from webapp.pages import download, form_bytes, new_app, page, plain_text, serve
from webapp.tickets import Ticket, Tickets
from webapp.uploads_folder import UploadsFolder

from incoming.client import ForeignPath, Handover, NotGenuine, NotTheServer, Unreachable, UploadError
from incoming.client import Tickets as IncomingServer

HERE = Path(__file__).resolve().parent

app = new_app()
settings: Settings  # these five are set by main()
server: IncomingServer
tickets: Tickets
uploads: UploadsFolder
handover: Handover


@app.get("/")
def main_page():
    """The app's only page. It comes with a ticket, so the browser need not ask for one."""
    secret = str(uuid.uuid4())
    try:
        upload_id = server.new_upload(
            # what the Incoming!! server calls when the file is there
            f"http://{settings.internal_app_host}/api/backend/upload_finished",
            # the server signs its calls with this, and nobody else knows it
            secret=secret,
            # we move the file away ourselves
            removeFileWhenFinished=False,
            # better now than after 40 GB: the server says at once if it cannot call us
            testCallback=True,
        )
    except (UploadError, Unreachable, NotTheServer) as error:
        logging.error("no ticket: %s", error)
        bottle.abort(500, f"incoming!! error: {error}")

    ticket = Ticket(id=upload_id, secret=secret)
    tickets.add(ticket)
    return page(HERE, settings, upload_id=ticket.id, uploaded_files=uploads.files())


@app.post("/api/backend/upload_finished")
def upload_finished():
    """The Incoming!! server calls this when the file has arrived, or when the upload was cancelled.

    Anybody else can call it as well, with anything in it. And the server calls again when it has not got our answer:
    then the answer is the same, and nothing is done a second time.
    """
    try:
        callback = handover.verify(bottle.request.headers, form_bytes())
    except NotGenuine:
        bottle.abort(404, "There is no upload with that id.")
    if callback.is_test:  # the server tries whether it can call us; see testCallback
        return plain_text("done")
    ticket = tickets.find(callback.id)
    answer = ticket.answer
    if answer is None:
        try:
            answer = take_file(ticket, callback)
        except OSError as error:  # a full disk, for example
            logging.warning("upload %s cannot be taken now, the server will call again: %s", ticket.id, error)
            bottle.abort(503, "Not now. Please call again.")
        tickets.close(ticket, answer)
    return plain_text(answer)


def take_file(ticket, callback):
    """Move the file to our own folder; returns what the Incoming!! server is to be told."""
    if callback.cancelled:
        logging.info("upload %s was cancelled: %r", ticket.id, callback.cancel_reason)
        return ""  # any answer would do
    name = tickets.reserve_name(ticket, uploads.free_names(callback.name))
    try:
        handover.take(callback, uploads.path(name))
    except ForeignPath as error:
        logging.error("upload %s refused: %s", ticket.id, error)
        bottle.abort(400, "This is not where the app expects uploaded files.")
    logging.info("upload %s is now %r", ticket.id, name)
    return "done"


@app.get("/uploads/<filename:path>")
def uploaded_file(filename):
    """Let people download what was uploaded."""
    return download(uploads, filename)


@click.command(context_settings=CONTEXT_SETTINGS)
@app_options(default_port=4001)
def main(given):
    """Example web app 1 for Incoming!!: upload one file per page. Files go to ./uploads."""
    global settings, server, tickets, uploads, handover
    settings, tickets, uploads = given, Tickets(Path("tickets.sqlite")), UploadsFolder(Path("uploads"))
    url = f"http://{settings.internal_incoming_host}"
    server = IncomingServer(url, token=settings.backend_token, retry_for=0)  # the user sees at once that it is away
    handover = Handover(settings.incoming_storage_dir, tickets.secret_of)
    handover.clean(uploads.directory)
    serve(app, settings)


if __name__ == "__main__":
    main()
