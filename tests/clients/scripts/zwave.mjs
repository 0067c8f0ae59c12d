// A zwave-js driver that speaks over TCP, and its own mock of a Z-Wave controller behind the stick at the other end.
//
// Owner: the Z-Wave scenario. Lines of JSON out; commands in: `ping` (asks a node over the air), `quit`.
//
// usage: zwave.mjs NODE_MODULES SOCKET_OF_THE_STICK tcp://HOST:PORT CACHE_DIRECTORY

import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import readline from "node:readline";

const [modules, stick, url, cacheDir] = process.argv.slice(2);
const require = createRequire(path.join(modules, "here.js"));
const { Driver } = require("zwave-js");
const { createDefaultMockControllerBehaviors, createDefaultMockNodeBehaviors } = require("zwave-js/Testing");
const { SerialAPIParser, ZWaveSerialFrameType } = require("@zwave-js/serial");
const { MockPort } = require("@zwave-js/serial/mock");
const { MockController, MockNode } = require("@zwave-js/testing");

const NODE = 2;

function tell(event, more = {}) {
	process.stdout.write(JSON.stringify({ event, ...more }) + "\n");
}

// The mock wants whole frames, and a wire has none: they are put together as the driver's own parser does it.
async function playController() {
	const port = new MockPort();
	const binding = await port.factory()();
	const wire = net.connect(stick);
	await new Promise((connected, failed) => wire.once("connect", connected).once("error", failed));
	const said = new WritableStream({ write: (chunk) => void wire.write(chunk) });
	void new ReadableStream(binding.source).pipeTo(said);
	const heard = new WritableStream(binding.sink).getWriter();
	const parser = new SerialAPIParser();
	void parser.readable.pipeTo(
		new WritableStream({
			write(frame) {
				if (frame.type !== ZWaveSerialFrameType.SerialAPI) return;
				const data = typeof frame.data === "number" ? Uint8Array.of(frame.data) : frame.data;
				void heard.write(data);
			},
		}),
	);
	const frames = parser.writable.getWriter();
	wire.on("data", (chunk) => void frames.write(chunk));

	const controller = await MockController.create({ mockPort: port, ownNodeId: 1, homeId: 0x7e570001 });
	controller.defineBehavior(...createDefaultMockControllerBehaviors());
	const node = await MockNode.create({ id: NODE, controller });
	node.defineBehavior(...createDefaultMockNodeBehaviors());
	controller.addNode(node);
}

async function startDriver() {
	const driver = new Driver(url, {
		storage: { cacheDir },
		logConfig: { enabled: false },
		// Nothing but the serial port is of interest, and nothing may come from the network.
		testingHooks: { skipNodeInterview: true, loadConfiguration: false },
	});
	driver.on("error", (error) => tell("error", { text: String(error) }));
	const ready = new Promise((resolve) => driver.once("driver ready", resolve));
	await driver.start();
	await ready;
	return driver;
}

await playController();
const driver = await startDriver();
tell("ready", { homeId: driver.controller.homeId, nodes: driver.controller.nodes.size });

for await (const command of readline.createInterface({ input: process.stdin })) {
	if (command === "quit") break;
	const start = performance.now();
	const answered = await driver.controller.nodes.get(NODE).ping();
	tell("pinged", { answered, ms: Math.round(performance.now() - start) });
}
await driver.destroy();
tell("gone");
process.exit(0);
