/** Could start now: how many more of each profile fit, with and without moves. */

import type { JSX } from "preact";
import { count, gib, NOT_LOOKED_AT } from "../format";
import type { Overview } from "../overview";
import { Bar, Nothing, Panel } from "../parts";

export function StartNow({ overview }: { overview: Overview }): JSX.Element {
  const { profiles } = overview;
  const most = Math.max(1, ...profiles.map((profile) => Math.max(profile.could_start, profile.with_moves ?? 0)));
  const limits = [...new Set(profiles.map((profile) => profile.limit).filter((limit) => limit !== null))];
  return (
    <Panel id="start-now" title="Could start now" note="each profile alone">
      {profiles.length === 0 ? (
        <Nothing>No GPU with MIG is known.</Nothing>
      ) : (
        <table class="compact">
          <thead>
            <tr>
              <th scope="col">Profile</th>
              <th scope="col" class="number">Memory</th>
              <th scope="col" class="number">Now</th>
              <th scope="col" class="wide"><span class="unseen">As a bar</span></th>
              <th scope="col" class="number">With moves</th>
            </tr>
          </thead>
          <tbody>
            {profiles.map((profile) => (
              <tr key={profile.name}>
                <th scope="row" title={profile.resource}>{profile.name}</th>
                <td class="number faint">{profile.memory_mib === null ? "–" : gib(profile.memory_mib)}</td>
                <td class={profile.could_start === 0 ? "number none" : "number"}>{count(profile.could_start)}</td>
                <td class="wide">
                  <Bar
                    share={profile.could_start / most}
                    {...(profile.with_moves === null ? {} : { second: profile.with_moves / most })}
                  />
                </td>
                <td class="number" title={profile.limit ?? undefined}>
                  {profile.with_moves === null ? (
                    <span class="faint">{NOT_LOOKED_AT}</span>
                  ) : profile.with_moves > profile.could_start ? (
                    <strong>{count(profile.with_moves)}</strong>
                  ) : (
                    <span class="faint">{count(profile.with_moves)}</span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {limits.map((limit) => (
        <p class="limit" key={limit}>With moves: {limit}</p>
      ))}
    </Panel>
  );
}
