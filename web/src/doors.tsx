/** What a caller sees who is not let in: the login, and the view of a user without the right. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";

export function Login({ problem, onToken }: { problem: string; onToken: (token: string) => void }): JSX.Element {
  const [token, setToken] = useState("");
  return (
    <main class="door">
      <h1>Log in</h1>
      <p>
        This service answers users of the cluster. Give a bearer token that has the right, such as of{" "}
        <code>kubectl create token NAME</code>.
      </p>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim()) onToken(token.trim());
        }}
      >
        <label>
          Token
          <input
            type="password" autocomplete="off" spellcheck={false} required value={token} autofocus
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        <button class="primary">Log in</button>
      </form>
      {problem && <p class="problem" role="alert">{problem}</p>}
      <p class="limit">The token stays in this tab, and is forgotten with it.</p>
    </main>
  );
}

export function Forbidden({ problem, onLogOut }: { problem: string; onLogOut: () => void }): JSX.Element {
  return (
    <main class="door">
      <h1>You may not see this</h1>
      <p class="reason">{problem}</p>
      <p>
        The role <code>migsched-reader</code> lets a user read, <code>migsched-operator</code> lets a user plan and move,
        too.
      </p>
      <button class="primary" onClick={onLogOut}>Use another token</button>
    </main>
  );
}
