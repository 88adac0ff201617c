// The tabs the server offers, and how they meet the tabs this browser remembers.
//
// GraphiQL's own `defaultTabs` are not used: it forgets the variables of the first one, and knows nothing of new ids.
// Instead its memory is written before it starts. The keys and shapes below are GraphiQL's.

const OFFERED = "offeredTabs";
const TABS = "graphiql:tabState";
const QUERY = "graphiql:query";
const VARIABLES = "graphiql:variables";
const NAME = /^\s*(?:query|mutation|subscription)\s+(\w+)/m;

/** The tabs written into the page by the server: {query, variables}, both texts. */
export function offeredTabs() {
  return JSON.parse(document.getElementById("tabs").textContent);
}

/** A localStorage of our own: another GraphiQL on the same host and port must not fill our tabs, nor we its. */
export function ownStorage(prefix, storage = window.localStorage) {
  const keys = () => Object.keys(storage).filter((key) => key.startsWith(prefix));
  return {
    getItem: (key) => storage.getItem(prefix + key),
    setItem: (key, value) => storage.setItem(prefix + key, value),
    removeItem: (key) => storage.removeItem(prefix + key),
    clear: () => keys().forEach((key) => storage.removeItem(key)),
    get length() {
      return keys().length;
    },
  };
}

/**
 * Write what GraphiQL will open with: the remembered tabs, or the offered ones where none are remembered.
 *
 * A remembered tab that still is, to the letter, what the server offered before becomes what it offers now (new ids,
 * a new text). Whatever a person typed stays.
 */
export function prepareTabs(storage, offered) {
  const remembered = read(storage, TABS);
  const state = remembered?.tabs?.length
    ? { ...remembered, tabs: refreshed(remembered.tabs, read(storage, OFFERED) ?? [], offered) }
    : { activeTabIndex: 0, tabs: offered.map(opened) };
  const active = state.tabs[state.activeTabIndex] ?? { query: "", variables: "" };

  storage.setItem(TABS, JSON.stringify(state));
  storage.setItem(QUERY, active.query ?? "");
  storage.setItem(VARIABLES, active.variables ?? "");
  storage.setItem(OFFERED, JSON.stringify(offered));
}

function refreshed(tabs, before, offered) {
  return tabs.map((tab) => {
    const index = before.findIndex((old) => old.query === tab.query && old.variables === (tab.variables ?? ""));
    return offered[index] ? { ...opened(offered[index]), id: tab.id } : tab;
  });
}

function opened({ query, variables }, index = 0) {
  const name = query.match(NAME)?.[1] ?? null;
  return {
    id: `offered-${Date.now()}-${index}`,
    hash: null,
    title: name ?? "<untitled>",
    query,
    variables,
    headers: null,
    operationName: name,
    response: null,
  };
}

function read(storage, key) {
  try {
    return JSON.parse(storage.getItem(key));
  } catch {
    return null; // something else wrote there: start afresh
  }
}
