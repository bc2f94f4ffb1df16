import { type FormEvent, useState } from "react";

import { type Run, api } from "./api";
import { Decide } from "./Decide";
import { usePolled, useSteps } from "./hooks";
import type { Call, Step } from "./tree";

export function RunView({ id, canAct }: { id: string; canAct: boolean }) {
  const { value: run, error, now } = usePolled(() => api.run(id), 3000);
  const steps = useSteps(id, () => void now());
  const [said, setSaid] = useState("");
  const act = async (what: () => Promise<unknown>) => {
    try {
      const became = await what();
      const undone = became as { restored?: string[]; refused?: string[] } | undefined;
      setSaid([...(undone?.restored ?? []), ...(undone?.refused ?? [])].join("; "));
    } catch (why) {
      setSaid(why instanceof Error ? why.message : String(why));
    }
    await now();
  };
  if (error && !run) return <p className="error">{error}</p>;
  if (!run) return <p className="quiet">…</p>;
  const isOver = ["completed", "failed", "cancelled"].includes(run.status);
  return (
    <article>
      <Head run={run} />
      <ol className="tree">
        {steps.map((step) => (
          <li key={step.seq}>
            <StepView step={step} />
          </li>
        ))}
      </ol>
      {canAct && run.waits.map((wait) => <Decide key={wait.call ?? "-"} wait={wait} onDone={now} />)}
      {canAct && (
        <footer>
          {!isOver && <Say onSay={(text) => act(() => api.say(id, text))} />}
          <div className="row">
            {!isOver && <button onClick={() => void act(() => api.cancel(id))}>Cancel</button>}
            {run.status === "waiting" && run.waits.length === 0 && (
              <button onClick={() => void act(() => api.resume(id))}>Resume</button>
            )}
            {run.status !== "running" && (
              <button onClick={() => void act(() => api.undo(id))}>Undo its changes</button>
            )}
          </div>
          {said && <p role="status">{said}</p>}
        </footer>
      )}
    </article>
  );
}

function Head({ run }: { run: Run }) {
  const { steps, tokens, cost } = run.spent;
  return (
    <div className="head">
      <span className={`status ${run.status}`}>{run.status}</span>
      <code>{run.id.slice(0, 8)}</code>
      <span>{run.model}</span>
      <span>{run.workspace}</span>
      <span className="quiet">
        {steps} steps · {tokens} tokens{cost > 0 && ` · $${cost.toFixed(4)}`}
      </span>
    </div>
  );
}

function StepView({ step }: { step: Step }) {
  switch (step.kind) {
    case "said":
      return (
        <p className="said">
          <b>{step.from}</b> {step.text}
        </p>
      );
    case "note":
      return <p className="quiet">{step.text}</p>;
    case "reply":
      return (
        <>
          {step.thought && <p className="thought">{step.thought}</p>}
          {step.text && <p>{step.text}</p>}
          {step.calls.map((call) => (
            <CallView key={call.id} call={call} />
          ))}
        </>
      );
  }
}

function CallView({ call }: { call: Call }) {
  const ms = call.ms ? ` · ${call.ms} ms` : "";
  return (
    <details className={`call ${call.state}`}>
      <summary>
        <b>{call.tool}</b> <span>{JSON.stringify(call.args)}</span>{" "}
        <i>
          {call.state}
          {ms}
        </i>
      </summary>
      <pre>{JSON.stringify(call.args, null, 2)}</pre>
      {call.text && <pre>{call.text}</pre>}
      {call.nested.map((nested) => (
        <CallView key={nested.id} call={nested} />
      ))}
    </details>
  );
}

function Say({ onSay }: { onSay: (text: string) => Promise<void> }) {
  const send = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const form = event.currentTarget;
    await onSay(String(new FormData(form).get("text")));
    form.reset();
  };
  return (
    <form className="row" onSubmit={(event) => void send(event)}>
      <input name="text" placeholder="Say something to it" required aria-label="Message" />
      <button>Say</button>
    </form>
  );
}
