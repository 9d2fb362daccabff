// The library in Node: node upload.mjs LIBRARY HOST TICKET FILE, prints the transport and the last state.
import { openAsBlob } from "node:fs";
import path from "node:path";

const [library, host, ticket, name] = process.argv.slice(2);
const incoming = await import(library);
incoming.set_server_hostname(host);
const file = new File([await openAsBlob(name)], path.basename(name), { lastModified: 1 });
const uploader = incoming.Uploader(async () => ticket, file);
let transport = "";
uploader.onprogress = () => (transport ||= uploader.transport);
uploader.onfinished = uploader.onerror = uploader.oncancelled = () => console.log(transport, uploader.state, uploader.error_msg);
uploader.start();
