// A TCP proxy before the gateway, which can cut all connections as a network does.
import net from "node:net";

export async function startProxy(url) {
  const { hostname, port } = new URL(url);
  const open = new Set();
  const server = net.createServer((socket) => {
    const upstream = net.connect(Number(port), hostname);
    for (const each of [socket, upstream]) {
      open.add(each);
      each.on("error", () => {});
      each.on("close", () => open.delete(each));
    }
    socket.pipe(upstream).pipe(socket);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    cut: () => open.forEach((socket) => socket.destroy()),
    close: () => server.close(),
  };
}

// Waits until a condition holds, at most 30 s.
export async function until(condition, what) {
  for (const end = Date.now() + 30_000; !condition(); ) {
    if (Date.now() > end) throw new Error(`timeout: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// Tells the test that a step is done: the test then lets the model write on.
export function report(step, value = null) {
  console.log(JSON.stringify({ step, value }));
}
