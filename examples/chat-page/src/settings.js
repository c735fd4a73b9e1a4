// Settings in the URL of the page, such as #agent=refund-desk&chat=ticket-42&token=…
// Browsers send what follows the # to no server. A deployed page has no token of the gateway at all.
const named = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

export const { gateway = "http://127.0.0.1:8060", agent = "refund-desk", chat = "1" } = named;
export const headers = { Authorization: `Bearer ${named.token}` };
