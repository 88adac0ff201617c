// The page: GraphiQL on this server's /graphql, by HTTP and by websocket (graphql-transport-ws).
import "./workers.js";
// Not "graphiql/style.css": it holds these and, inlined, Monaco's style sheet once more and 34 font files.
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import "./page.css";

import { createGraphiQLFetcher } from "@graphiql/toolkit";
import { GraphiQL } from "graphiql";
import { Kind, parse } from "graphql";
import { createElement } from "react";
import { createRoot } from "react-dom/client";

import { offeredTabs, ownStorage, prepareTabs } from "./tabs.js";

const endpoint = new URL(window.location.pathname, window.location.origin);
const socket = new URL(endpoint);
socket.protocol = endpoint.protocol === "https:" ? "wss:" : "ws:";

// Headers typed into GraphiQL go along with HTTP requests, and as connection parameters with the websocket.
const send = createGraphiQLFetcher({
  url: endpoint.href,
  subscriptionUrl: socket.href,
  enableIncrementalDelivery: false, // the server answers in one piece
});

// For a moment after a change of tabs GraphiQL still has the other tab's operation: then the text decides.
function fetcher(params, options) {
  const document = parsed(params.query);
  const names = document?.definitions.filter((it) => it.kind === Kind.OPERATION_DEFINITION).map((it) => it.name?.value);
  if (!names || names.includes(params.operationName ?? undefined)) return send(params, options);
  return send({ ...params, operationName: names[0] }, { ...options, documentAST: document });
}

function parsed(text) {
  try {
    return parse(text);
  } catch {
    return null; // the server says what is wrong with it
  }
}

// Without this the editor of variables takes every scalar it does not know for a text, a number or a Boolean.
const customScalarSchemas = { JSON: { type: ["object", "array", "string", "number", "boolean"] } };

const storage = ownStorage("regatta:");
prepareTabs(storage, offeredTabs());

createRoot(document.getElementById("graphiql")).render(
  createElement(
    GraphiQL,
    { fetcher, storage, customScalarSchemas, defaultEditorToolsVisibility: "variables" },
    createElement(GraphiQL.Logo, null, "Regatta"),
  ),
);
