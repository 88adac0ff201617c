// A build plugin that collects the licences of everything bundled, for the page and for its workers, into one file.
// Vite has `build.license`, but that one does not see what only a worker imports.
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";

const PACKAGE = /^.*\/node_modules\/(@[^/]+\/)?[^/]+/;

// Code and a font inside monaco-editor that neither its package nor its notices speak of.
const INSIDE_MONACO = `DOMPurify 3.1.7, (c) Cure53 and other contributors, Apache-2.0 (text under react-aria) or MPL-2.0.
Codicon font, (c) Microsoft Corporation, CC-BY-4.0 (https://creativecommons.org/licenses/by/4.0/).`;

/** Use `page` in `plugins` and `worker` in `worker.plugins`; `file` is written when the page's bundle is complete. */
export function licences(file) {
  const found = new Set();
  const collect = (bundle) => {
    for (const { modules = {} } of Object.values(bundle)) {
      for (const path of Object.keys(modules)) found.add(path.match(PACKAGE)?.[0]);
    }
  };
  const worker = { name: "licences-of-worker", generateBundle: (_, bundle) => collect(bundle) };
  const page = {
    name: "licences",
    generateBundle(_, bundle) {
      collect(bundle);
      found.delete(undefined); // our own files, and the bundler's helpers
      writeFileSync(file, text([...found]));
    },
  };
  return { page, worker };
}

function text(folders) {
  const entries = folders.map(entry).sort();
  return `Third-party software in this folder, with its licences.\n\n${[...new Set(entries)].join("\n")}`;
}

function entry(folder) {
  const { name, version, license, repository } = JSON.parse(readFileSync(join(folder, "package.json")));
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|notice|thirdpartynotices)/i.test(file));
  const extra = name === "monaco-editor" ? [INSIDE_MONACO] : [];
  const texts = [...files.map((file) => readFileSync(join(folder, basename(file)), "utf8").trim()), ...extra];
  if (!texts.length) texts.push(`The package carries no licence text; its source: ${repository?.url ?? repository}`);
  return [`${"=".repeat(80)}\n${name} ${version} (${license})`, ...texts].join("\n\n") + "\n";
}
