import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

import { licences } from "./licences.js";

const local = (path) => fileURLToPath(new URL(path, import.meta.url));
const output = local("../../app/static/graphiql");
const { page, worker } = licences(`${output}/LICENSES.txt`);

export default defineConfig({
  base: "/static/graphiql/",
  resolve: {
    alias: [
      { find: /^monaco-editor\/esm\/vs\/editor\/edcore\.main\.js$/, replacement: local("monaco.js") },
      { find: /^prettier\/(plugins\/estree|parser-babel)$/, replacement: local("jsonc-format.js") },
      { find: "prettier/parser-graphql", replacement: "prettier/plugins/graphql" }, // its older name
    ],
  },
  build: {
    outDir: output,
    emptyOutDir: false, // the operations beside it are written by hand
    assetsInlineLimit: 0, // files of our own origin, not data: URLs
    target: "es2022",
    modulePreload: { polyfill: false }, // every browser that runs Monaco has it
    chunkSizeWarningLimit: 4000,
    rolldownOptions: { checks: { moduleLevelDirective: false } }, // "use client" means nothing here
  },
  plugins: [page],
  worker: { format: "es", plugins: () => [worker] },
});
