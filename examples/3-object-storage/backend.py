"""Example web app 3: the browser sends files straight to an object store, Ceph or any other with S3's interface.

This one command starts the app and an Incoming!! server for it (incoming_server.py). Environment variables say which
bucket (the options below). The server begins, signs and completes the uploads; the app gives tickets to its pages
(request_upload), and notes each object when it is there (upload_finished). doc/examples.md walks through it.
"""

import logging
import os
import signal
import sys
import uuid
from pathlib import Path

import bottle
import click

# webapp is beside this example's folder; incoming is the project itself, if it is not installed.
sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
sys.path.insert(2, str(Path(__file__).resolve().parents[2]))

from bucket import Bucket, BucketProblem
from incoming_server import IncomingProcess, ServerProblem
from uploads import Upload, Uploads
from webapp.command_line import CONTEXT_SETTINGS, Settings
from webapp.pages import form_bytes, new_app, page, plain_text, serve

from incoming.client import Handover, NotGenuine, NotTheServer, Tickets, Unreachable, UploadError

HERE = Path(__file__).resolve().parent
SQLITE = "sqlite:///"

app = new_app()
settings: Settings  # these six are set by main()
server: Tickets
bucket: Bucket
uploads: Uploads
handover: Handover
mime_type: str


@app.get("/")
def main_page():
    """The app's only page. It gets a ticket when a file was chosen."""
    return page(HERE, settings, connect_to=bucket.origin, uploaded=uploads.arrived())


@app.post("/api/frontend/request_upload")
def request_upload():
    """The page wants a ticket. Here an app decides whether this user may upload, and where to."""
    secret = str(uuid.uuid4())
    try:
        upload_id = server.new_upload(
            f"http://{settings.internal_app_host}/api/backend/upload_finished",
            secret=secret,
            # not a file on the server's disk but an object; the name is that of the server's object_stores
            destType="s3",
            # the object's type
            mediaType=mime_type,
            # the object stays where it is
            removeFileWhenFinished=False,
        )
    except (UploadError, Unreachable, NotTheServer) as error:
        logging.error("no ticket: %s", error)
        bottle.abort(503, f"incoming!! error: {error}")
    uploads.add(upload_id, secret)
    return plain_text(upload_id)


@app.post("/api/backend/upload_finished")
def upload_finished():
    """The Incoming!! server calls this when the object is there, or when the upload was cancelled.

    It calls again when it has not got our answer: then the same is noted once more.
    """
    try:
        callback = handover.verify(bottle.request.headers, form_bytes())
    except NotGenuine:
        bottle.abort(404, "There is no upload with that id.")
    if callback.cancelled:
        logging.info("upload %s was cancelled: %r", callback.id, callback.cancel_reason)
    else:
        # callback.fields has also bucket, etag, and a signed url for an hour, which needs no credentials.
        uploads.note(Upload(callback.id, callback.name, int(callback.fields["size"]), callback.fields["key"]))
        logging.info("upload %s is now %s", callback.id, callback.filename)
    return plain_text("done")


@app.get("/uploads/<upload_id>")
def uploaded_file(upload_id):
    """Let people download what was uploaded, from the object store itself."""
    upload = uploads.find(upload_id)
    if upload is None:
        bottle.abort(404, "There is no such file.")
    bottle.redirect(bucket.signed_url(upload.key, upload.name), 303)


@click.command(context_settings=CONTEXT_SETTINGS)
@click.option("--bucket", "name", envvar="BUCKET", show_envvar=True, required=True, help="Created if it is missing.")
@click.option("--endpoint", envvar="ENDPOINT", show_envvar=True, help="URL of the object store. [default: AWS]")
@click.option("--region", envvar="REGION", show_envvar=True, default="us-east-1", show_default=True)
@click.option(
    "--mime_type", "media_type", envvar="MIME_TYPE", show_envvar=True, default="application/octet-stream",
    show_default=True, help="Type of the objects.",
)  # fmt: skip
@click.option(
    "--database_url", envvar="DATABASE_URL", show_envvar=True, default="sqlite:///database.db", show_default=True,
    help="sqlite:///FILE: the app's list of uploads. postgres://…: tickets of the server, which then may have several "
    "instances; the list is in database.db.",
)  # fmt: skip
@click.option(
    "--port", envvar="PORT", show_envvar=True, type=click.IntRange(1, 65534), default=5000, show_default=True,
    help="Port of the app; the Incoming!! server has the next one.",
)  # fmt: skip
@click.option(
    "--chunk_size", envvar="CHUNK_SIZE", show_envvar=True, type=int, default=6 * 1024 * 1024, show_default=True,
    help="Bytes of a part of a file; longer ones for files above 50 GB.",
)  # fmt: skip
@click.option("--address", default="0.0.0.0", show_default=True, help="Address to listen on.")
def main(name, endpoint, region, media_type, database_url, port, chunk_size, address):
    """Example web app 3 for Incoming!!: files go straight from the browser to an object store.

    AWS_ACCESS_KEY and AWS_SECRET in the environment are the credentials.
    """
    global settings, server, bucket, uploads, handover, mime_type
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    keys = os.environ.get("AWS_ACCESS_KEY", ""), os.environ.get("AWS_SECRET", "")
    if not all(keys):
        raise click.UsageError("AWS_ACCESS_KEY and AWS_SECRET are not set: export your access key and its secret.")
    here, beside_us = f"localhost:{port}", f"localhost:{port + 1}"
    mime_type, is_sqlite = media_type, database_url.startswith(SQLITE)
    uploads = Uploads(Path(database_url.removeprefix(SQLITE) if is_sqlite else "database.db"))
    handover = Handover(".", uploads.secret_of)
    settings = Settings(None, beside_us, here, here, Path("incoming-data"), "", address, port)
    server = Tickets(f"http://{beside_us}", retry_for=0)
    bucket = Bucket(name, endpoint, region, *keys)
    incoming = IncomingProcess(bucket, port + 1, chunk_size, "" if is_sqlite else database_url)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also then the server ends with us
    try:
        bucket.prepare([f"http://localhost:{port}", f"http://127.0.0.1:{port}"])
        with incoming:
            serve(app, settings)
    except (BucketProblem, ServerProblem) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
