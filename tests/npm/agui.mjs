// The stock `HttpAgent` of @ag-ui/client against /agui.
import assert from "node:assert/strict";
import { HttpAgent } from "@ag-ui/client";
import { report, startProxy, until } from "./proxy.mjs";

// The stock client leaves a copy of a lost connection's error unhandled, which would end Node.
process.on("unhandledRejection", (error) => {
  if (error?.message !== "terminated") throw error;
});

const proxy = await startProxy(process.env.GATEWAY_URL);
const agent = new HttpAgent({
  url: `${proxy.url}/agui/${process.env.AGENT}`,
  headers: { authorization: `Bearer ${process.env.GATEWAY_TOKEN}` },
  threadId: "npm-agui",
});

function last() {
  return agent.messages.at(-1);
}

// A streamed answer, cut in the middle. The next run sends no new message, and shows it whole.
agent.addMessage({ id: "u1", role: "user", content: "Tell a story" });
const telling = agent.runAgent().then(() => "ended", () => "cut");
await until(() => last().role === "assistant" && last().content !== "", "the first text");
proxy.cut();
assert.equal(await telling, "cut");
let isAgain = false;
const again = agent.runAgent({}, { onTextMessageContentEvent: () => void (isAgain = true) });
await until(() => isAgain, "the text again");
report("resumed");
await again;
assert.deepEqual(agent.messages.map((message) => message.role), ["user", "assistant"]);
report("story", last().content);

// An approval with other arguments.
agent.addMessage({ id: "u2", role: "user", content: "Refund 7" });
await agent.runAgent();
const [interrupt] = agent.pendingInterrupts;
assert.equal(interrupt.reason, "tool_call");
assert.deepEqual(interrupt.metadata.arguments, { order_id: "7" });
await agent.runAgent({
  resume: [
    {
      interruptId: interrupt.id,
      status: "resolved",
      payload: { approved: true, editedArgs: { order_id: "8" } },
      metadata: { arguments_hash: interrupt.metadata.arguments_hash },
    },
  ],
});
assert.deepEqual(agent.pendingInterrupts, []);
report("refund", agent.messages.findLast((message) => message.role === "tool").content);
report("end", last().content);

// An error of the gateway is the error of the run.
const wrong = new HttpAgent({ url: `${proxy.url}/agui/nobody`, headers: agent.headers });
wrong.addMessage({ id: "u1", role: "user", content: "Hi" });
await assert.rejects(wrong.runAgent(), /nobody/);
report("done");
proxy.close();
