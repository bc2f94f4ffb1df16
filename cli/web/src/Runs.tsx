import { type FormEvent, useState } from "react";

import { type Status, api } from "./api";
import { usePolled } from "./hooks";

const STATUSES: Status[] = ["pending", "running", "waiting", "completed", "failed", "cancelled"];

export function Runs({ chosen, canStart }: { chosen: string; canStart: boolean }) {
  const [status, setStatus] = useState<Status | "">("");
  const { value, error, now } = usePolled(() => api.runs(status), 2000);
  return (
    <nav>
      {canStart && <NewRun onStarted={() => void now()} />}
      <label className="row">
        Runs
        <select
          value={status}
          onChange={(event) => {
            setStatus(event.target.value as Status | "");
            setTimeout(() => void now());
          }}
        >
          <option value="">all</option>
          {STATUSES.map((status) => (
            <option key={status}>{status}</option>
          ))}
        </select>
      </label>
      {error && <p className="error">{error}</p>}
      <ul>
        {value?.runs.map((run) => (
          <li key={run.run} className={run.run === chosen ? "chosen" : ""}>
            <a href={`#${run.run}`}>
              <span className={`status ${run.status}`}>{run.status}</span> {run.task}
            </a>
          </li>
        ))}
      </ul>
      {value?.runs.length === 0 && <p className="quiet">None yet.</p>}
    </nav>
  );
}

function NewRun({ onStarted }: { onStarted: () => void }) {
  const [error, setError] = useState("");
  const send = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    const said = new FormData(form);
    try {
      const run = await api.start(
        String(said.get("task")),
        String(said.get("workspace")).trim(),
        said.get("conversation") !== null,
      );
      form.reset();
      setError("");
      location.hash = run.id;
      onStarted();
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    }
  };
  return (
    <form onSubmit={(event) => void send(event)}>
      <textarea name="task" rows={3} placeholder="What is to be done" required aria-label="Task" />
      <input name="workspace" placeholder="Folder (the usual one)" aria-label="Folder" />
      <label className="row">
        <span>
          <input name="conversation" type="checkbox" /> Go on talking
        </span>
        <button>Start</button>
      </label>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
    </form>
  );
}
