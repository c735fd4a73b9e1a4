import { HttpAgent } from "@ag-ui/client";
import { useEffect, useReducer, useState } from "react";
import { createRoot } from "react-dom/client";
import * as settings from "./settings.js";

const { gateway, chat, headers } = settings;
const agent = new HttpAgent({ url: `${gateway}/agui/${settings.agent}`, threadId: chat, headers });

function Chat() {
  const [, redraw] = useReducer((count) => count + 1, 0);
  const [isRunning, setRunning] = useState(false);
  const [error, setError] = useState(null);
  useEffect(() => {
    const subscription = agent.subscribe({ onMessagesChanged: redraw, onRunFinalized: redraw });
    return () => subscription.unsubscribe();
  }, []);
  const run = (parameters) => {
    setError(null);
    setRunning(true);
    agent.runAgent(parameters).catch(setError).finally(() => setRunning(false));
  };
  const send = (data) => {
    agent.addMessage({ id: crypto.randomUUID(), role: "user", content: data.get("text") });
    run();
  };
  const resume = (approved) => (data) => {
    const decision = ({ id, metadata }) => {
      const { arguments: shown, arguments_hash } = metadata;
      const isEdited = approved && data.get(id) !== JSON.stringify(shown);
      const payload = { approved, ...(isEdited && { editedArgs: JSON.parse(data.get(id)) }) };
      return { interruptId: id, status: "resolved", payload, metadata: { arguments_hash } };
    };
    run({ resume: agent.pendingInterrupts.map(decision) });
  };
  return (
    <>
      {agent.messages.map((message) => (
        <section key={message.id} className={message.role}>
          {message.content && <p>{message.content}</p>}
          {message.toolCalls?.map((call) => <code key={call.id}>{call.function.name}</code>)}
        </section>
      ))}
      {agent.pendingInterrupts.length > 0 && (
        <form action={resume(true)}>
          {agent.pendingInterrupts.map(({ id, message, metadata }) => (
            <label key={id}>
              {message} <input name={id} defaultValue={JSON.stringify(metadata.arguments)} onInput={check} />
            </label>
          ))}
          <button>Approve</button> <button formAction={resume(false)} formNoValidate>Deny</button>
        </form>
      )}
      {error && <p role="alert">{error.message} <button onClick={() => run()}>Reconnect</button></p>}
      <form action={send}>
        <input name="text" placeholder="Message" autoComplete="off" required />{" "}
        <button disabled={isRunning}>Send</button>
      </form>
    </>
  );
}

function check({ target }) {
  try {
    JSON.parse(target.value);
    target.setCustomValidity("");
  } catch (error) {
    target.setCustomValidity(error.message);
  }
}

createRoot(document.getElementById("root")).render(<Chat />);
