// A prettier plugin that formats JSON with comments, for GraphiQL's variables and headers.
// GraphiQL asks for prettier's Babel and ESTree plugins, which are half a megabyte of JavaScript grammar.
import { applyEdits, format } from "jsonc-parser";

const options = { tabSize: 2, insertSpaces: true, insertFinalNewline: false };

export const parsers = {
  jsonc: {
    astFormat: "jsonc-text",
    parse: (text) => ({ text: applyEdits(text, format(text, undefined, options)).trim() }),
    locStart: () => 0,
    locEnd: ({ text }) => text.length,
  },
};

export const printers = { "jsonc-text": { print: (path) => path.node.text } };
