import { useChat } from "@ai-sdk/react";
import * as ai from "ai";
import { useRef, useState } from "react";

export function Chat({ id, messages, api, headers }) {
  const edits = useRef({}); // the arguments that a person changed, by the id of the approval
  const drafts = useRef({}); // what a person types: a stream that begins again replaces all messages
  const body = () => ({ decisions: edits.current });
  const chat = useChat({
    id,
    messages, // the result of loadMessages
    resume: true,
    transport: new ai.DefaultChatTransport({ api, headers, body }),
    sendAutomaticallyWhen: ai.lastAssistantMessageIsCompleteWithApprovalResponses,
  });
  const decide = (id, approved, edited) => {
    if (edited) edits.current[id] = { arguments: edited };
    void chat.addToolApprovalResponse({ id, approved });
  };
  const reconnect = async () => {
    await chat.resumeStream();
    chat.setMessages(await loadMessages({ id, api, headers }));
  };
  return (
    <>
      {chat.messages.map(({ id, role, parts }) => (
        <section key={id} className={role}>
          {parts.map((part, at) => <Part key={at} part={part} decide={decide} drafts={drafts.current} />)}
        </section>
      ))}
      {chat.error && <p role="alert">{chat.error.message} <button onClick={reconnect}>Reconnect</button></p>}
      <form action={(data) => void chat.sendMessage({ text: data.get("text") })}>
        <input name="text" placeholder="Message" autoComplete="off" required />{" "}
        <button disabled={chat.status !== "ready"}>Send</button>
      </form>
    </>
  );
}

function Part({ part, decide, drafts }) {
  if (part.type === "text") return part.providerMetadata?.outlast?.isDiscarded ? null : <p>{part.text}</p>;
  if (!ai.isToolUIPart(part)) return null;
  if (part.state === "approval-requested") return <Approval part={part} decide={decide} drafts={drafts} />;
  return <code>{ai.getToolName(part)}: {JSON.stringify(part.output ?? part.errorText ?? part.state)}</code>;
}

function Approval({ part, decide, drafts }) {
  const id = part.approval.id;
  const shown = JSON.stringify(part.input);
  const [text, setText] = useState(drafts[id] ?? shown);
  const edited = text === shown ? null : parsed(text);
  const type = (event) => setText((drafts[id] = event.target.value));
  return (
    <fieldset>
      <legend>Approve {ai.getToolName(part)}?</legend>
      <input aria-label="Arguments" value={text} onChange={type} />
      <button disabled={edited === undefined} onClick={() => decide(id, true, edited)}>Approve</button>{" "}
      <button onClick={() => decide(id, false)}>Deny</button>
    </fieldset>
  );
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export async function loadMessages({ id, api, headers }) {
  const response = await fetch(`${api}/${id}`, { headers });
  if (response.status === 404) return []; // a new chat
  if (!response.ok) throw new Error(await response.text());
  return (await response.json()).messages;
}
