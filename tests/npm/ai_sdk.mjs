// The stock `Chat` of @ai-sdk/react, which `useChat` wraps, against /ai.
import assert from "node:assert/strict";
import { Chat } from "@ai-sdk/react";
import {
  DefaultChatTransport,
  lastAssistantMessageIsCompleteWithApprovalResponses,
} from "ai";
import { report, startProxy, until } from "./proxy.mjs";

const proxy = await startProxy(process.env.GATEWAY_URL);
const headers = { authorization: `Bearer ${process.env.GATEWAY_TOKEN}` };
const api = `${proxy.url}/ai/${process.env.AGENT}`;

function chatOf(id, messages = []) {
  return new Chat({
    id,
    messages,
    transport: new DefaultChatTransport({ api, headers }),
    onError: () => {},
    sendAutomaticallyWhen: (state) =>
      lastAssistantMessageIsCompleteWithApprovalResponses(state) ||
      asked(state.messages.at(-1))?.state === "output-available",
  });
}

// The question, as long as it is in the last step: only its answer is sent automatically.
function asked(message) {
  const last = message?.parts.findLastIndex((part) => part.type === "step-start") ?? -1;
  return message?.parts.slice(last + 1).find((part) => part.type === "tool-ask_human");
}

function textOf(message) {
  return (message?.parts ?? [])
    .filter((part) => part.type === "text" && !part.providerMetadata?.outlast?.isDiscarded)
    .map((part) => part.text)
    .join("");
}

async function load(id) {
  const response = await fetch(`${api}/${id}`, { headers });
  assert.equal(response.status, 200);
  return (await response.json()).messages;
}

// A streamed answer, cut in the middle, and resumed on the same page.
const chat = chatOf("npm-ai");
const sending = chat.sendMessage({ text: "Tell a story" });
await until(() => textOf(chat.lastMessage) !== "" && chat.status === "streaming", "text");
proxy.cut();
await sending;
assert.equal(chat.status, "error");
const resuming = chat.resumeStream();
await until(() => chat.status === "streaming", "the stream again");
report("resumed");
await resuming;
assert.equal(chat.status, "ready");
assert.deepEqual(chat.messages.map((message) => message.role), ["user", "assistant"]);
report("story", textOf(chat.lastMessage));

// Without an open answer, the server has nothing to resume.
await chat.resumeStream();
assert.equal(chat.status, "ready");
assert.equal(chat.messages.length, 2);

// An approval with other arguments.
await chat.sendMessage({ text: "Refund 7" });
const part = chat.lastMessage.parts.find((each) => each.type === "tool-refund");
assert.equal(part.state, "approval-requested");
assert.deepEqual(part.input, { order_id: "7" });
const decisions = { [part.approval.id]: { arguments: { order_id: "8" } } };
await chat.addToolApprovalResponse({
  id: part.approval.id,
  approved: true,
  options: { body: { decisions } },
});
await until(() => textOf(chat.lastMessage) !== "" && chat.status === "ready", "the answer");
const paid = chat.lastMessage.parts.find((each) => each.type === "tool-refund");
assert.equal(paid.state, "output-available");
report("refund", JSON.stringify(paid.output));
assert.equal(chat.messages.length, 4);

// The page is closed in the middle of an answer, and opened again.
const leaving = chat.sendMessage({ text: "Tell it again" });
await until(() => textOf(chat.lastMessage) !== "" && chat.status === "streaming", "text");
await chat.stop();
await leaving;
const reopened = chatOf("npm-ai", await load("npm-ai"));
const again = reopened.resumeStream();
await until(() => reopened.status === "streaming", "the stream on the new page");
report("reopened");
await again;
report("again", textOf(reopened.lastMessage));
assert.deepEqual(
  reopened.messages.map((message) => message.role),
  ["user", "assistant", "user", "assistant", "user", "assistant"],
);

// A denial, and a question.
await reopened.sendMessage({ text: "Refund 9" });
const denied = reopened.lastMessage.parts.find((each) => each.type === "tool-refund");
await reopened.addToolApprovalResponse({ id: denied.approval.id, approved: false, reason: "no" });
await until(() => asked(reopened.lastMessage) && reopened.status === "ready", "the question");
assert.equal(
  reopened.lastMessage.parts.find((each) => each.type === "tool-refund").state,
  "output-denied",
);
const question = asked(reopened.lastMessage);
assert.equal(question.input.question, "Which?");
await reopened.addToolOutput({ tool: "ask_human", toolCallId: question.toolCallId, output: "red" });
await until(() => textOf(reopened.lastMessage) !== "" && reopened.status === "ready", "the end");
report("end", textOf(reopened.lastMessage));
assert.equal(reopened.messages.length, 8);

// An error is the text of the error.
const wrong = chatOf("npm-ai-wrong");
wrong.transport.api = `${proxy.url}/ai/nobody`;
await wrong.sendMessage({ text: "Hi" });
assert.match(wrong.error.message, /^agent: 'nobody' is not served/);
report("done");
proxy.close();
