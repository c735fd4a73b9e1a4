import { createRoot } from "react-dom/client";
import { Chat, loadMessages } from "./chat.jsx";
import { agent, chat, gateway, headers } from "./settings.js";

const root = createRoot(document.getElementById("root"));
const settings = { id: chat, api: `${gateway}/ai/${agent}`, headers };
loadMessages(settings).then(
  (messages) => root.render(<Chat {...settings} messages={messages} />),
  (error) => root.render(<p role="alert">{error.message}</p>),
);
