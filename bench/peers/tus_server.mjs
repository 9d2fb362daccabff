// @tus/server with its file store and its defaults: node tus_server.mjs HOST PORT DIRECTORY
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [host, port, directory] = process.argv.slice(2);
const server = new Server({ path: "/files", datastore: new FileStore({ directory }) });
const listening = server.listen({ host, port: Number(port) }, () => console.log("ready"));
// Node would end a request after five minutes, and a file can take longer on a line that loses packets.
listening.requestTimeout = 0;
