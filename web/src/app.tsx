/** The page: its head, its views, and who may do what in them. */

import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Demo } from "./demo";
import { models } from "./derive";
import { Forbidden, Login } from "./doors";
import { Fix, type Wish } from "./fix";
import { clock } from "./format";
import { useHash, useKept, useStore } from "./hooks";
import { hasToken } from "./live/session";
import type { Store, View } from "./live/store";
import { SlotMap } from "./map/panel";
import type { Overview } from "./overview";
import { Health } from "./panels/health";
import { Idle } from "./panels/idle";
import { Log } from "./panels/log";
import { Moves } from "./panels/moves";
import { StartNow } from "./panels/start_now";
import { Summary } from "./panels/summary";
import { Trend } from "./panels/trend";
import { Usage } from "./panels/usage";
import { Waiting } from "./panels/waiting";
import { Plan } from "./planning/plan";
import { WhatIf } from "./planning/what_if";
import { Timeline } from "./timeline";

const THEMES = ["system", "light", "dark"];

export function App({ store }: { store: Store }): JSX.Element {
  const view = useStore(store);
  const hash = useHash();
  const [theme, setTheme] = useKept("migsched-theme", "system");
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
  }, [theme]);
  const seen = useSystemTheme(theme);
  const planning = hash === "#/plan";
  return (
    <>
      <a class="skip" href="#main">To the content</a>
      <header class="head">
        <span class="brand"><Mark />migsched</span>
        {view.phase === "ready" && (
          <nav aria-label="Views">
            <a href="#/" aria-current={planning ? undefined : "page"}>Cluster</a>
            <a href="#/plan" aria-current={planning ? "page" : undefined}>What if</a>
          </nav>
        )}
        <Status view={view} store={store} />
        <button
          class="quiet" aria-label={`Theme: ${theme}; change it`} title={`Theme: ${theme}`}
          onClick={() => setTheme(THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length]!)}
        >
          {theme === "dark" ? "☾" : theme === "light" ? "☀" : "◐"}
        </button>
        {view.source === "live" && view.phase === "ready" && <a class="quiet" href="/docs">API</a>}
        {hasToken() && view.phase !== "login" && (
          <button class="quiet" onClick={() => store.logOut()}>Log out</button>
        )}
      </header>
      {view.phase === "login" ? (
        <Login problem={hasToken() ? view.problem : ""} onToken={(token) => store.logIn(token)} />
      ) : view.phase === "forbidden" ? (
        <Forbidden problem={view.problem} onLogOut={() => store.logOut()} />
      ) : view.overview ? (
        <Content store={store} view={view} overview={view.overview} planning={planning} hash={hash} theme={seen} />
      ) : (
        <main class="door" id="main">
          <p role="status">{view.offlineSince ? "The service does not answer yet." : "Connecting…"}</p>
          {view.problem && <p class="limit">{view.problem}</p>}
        </main>
      )}
    </>
  );
}

interface ContentProps {
  store: Store;
  view: View;
  overview: Overview;
  planning: boolean;
  hash: string;
  theme: string;
}

function Content({ store, view, overview, planning, hash, theme }: ContentProps): JSX.Element {
  const [wish, setWish] = useState<Wish | null>(null);
  const acting = !view.past && view.offlineSince === null;
  const mayMove = acting && overview.may.move;
  const mayPlan = acting && overview.may.plan;
  const scenario = /^#\/demo\/([a-z0-9-]+)$/.exec(hash)?.[1] ?? null;
  const stale = view.offlineSince !== null;
  return (
    <>
      {overview.may.demo && view.source === "live" && <Demo wanted={scenario} />}
      {stale && (
        <p class="banner" role="alert">
          <b>Offline since {clock(view.offlineSince!)}.</b> What you see is of {clock(overview.time)}. It is tried again by
          itself. <button class="link" onClick={() => store.tryNow()}>Try now</button>
        </p>
      )}
      <main id="main" class={stale ? "stale" : ""} tabIndex={-1}>
        <h1 class="unseen">{planning ? "What if" : "The cluster"}</h1>
        <datalist id="models">{models(overview.nodes).map((model) => <option key={model} value={model} />)}</datalist>
        <datalist id="profiles">{overview.profiles.map((each) => <option key={each.name} value={each.name} />)}</datalist>
        {planning ? (
          <div class="grid-plan">
            <WhatIf overview={overview} offered={mayPlan} />
            <Plan overview={overview} offered={mayPlan} />
          </div>
        ) : (
          <>
            <Summary overview={overview} />
            <div class="grid">
              <div class="column side-column">
                <StartNow overview={overview} />
                <Waiting
                  overview={overview} mayFix={mayMove}
                  onFix={(pod) => setWish({ pod: pod.pod, name: proposalFor(overview, pod.pod) })}
                />
                <Moves
                  overview={overview} mayApprove={mayMove}
                  onApprove={(move) => setWish({ pod: move.pod, name: move.name })}
                />
              </div>
              <div class="column main-column">
                <SlotMap overview={overview} theme={theme} mayPlan={mayPlan} />
                <Trend overview={overview} />
                <Log overview={overview} />
              </div>
            </div>
            <div class="thirds">
              <Health overview={overview} />
              <Idle overview={overview} />
              <Usage overview={overview} />
            </div>
          </>
        )}
      </main>
      {wish && <Fix wish={wish} overview={overview} onClose={() => setWish(null)} />}
      <Timeline store={store} view={view} />
    </>
  );
}

/** The Repack that is proposed for a pod already, or null. */
function proposalFor(overview: Overview, pod: string): string | null {
  return overview.moves?.find((move) => move.pod === pod && move.phase === "Proposed")?.name ?? null;
}

function Status({ view, store }: { view: View; store: Store }): JSX.Element {
  const time = view.overview ? clock(view.overview.time) : "";
  let text = "connecting";
  if (view.phase === "login" || view.phase === "forbidden") text = "";
  else if (view.source === "recording") text = `recording, ${time}`;
  else if (view.offlineSince) text = "offline";
  else if (view.past) text = `past, ${time}`;
  else if (view.overview) text = "live";
  return (
    <span class={`status status-${text.split(",")[0] || "none"}`}>
      {text && <i aria-hidden="true" />}
      {text}
      {text === "live" && <time class="faint">{time}</time>}
      {view.overview && <span class="faint version">{view.overview.version}{store.current.overview?.mode === "queue" ? " · queue" : " · extender"}</span>}
    </span>
  );
}

function useSystemTheme(theme: string): string {
  const query = window.matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const hear = () => setDark(query.matches);
    query.addEventListener("change", hear);
    return () => query.removeEventListener("change", hear);
  }, []);
  return theme === "system" ? (dark ? "dark" : "light") : theme;
}

function Mark(): JSX.Element {
  return (
    <svg class="logo" viewBox="0 0 16 16" aria-hidden="true">
      <rect width="16" height="16" rx="3" />
      <path d="M3 4h6v3H3zM10 4h3v3h-3zM3 9h3v3H3zM7 9h6v3H7z" />
    </svg>
  );
}
