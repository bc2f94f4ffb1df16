import { type FormEvent, useState } from "react";

import { type Wait, api } from "./api";

/** What a run waits for, and what can be said to it. */
export function Decide({ wait, onDone }: { wait: Wait; onDone: () => unknown }) {
  const [error, setError] = useState("");
  const { run, call } = wait;
  if (wait.kind === "message" || !call) return null;
  const act = async (what: Promise<unknown>) => {
    try {
      await what;
      await onDone();
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    }
  };
  if (wait.kind === "question") {
    const send = (event: FormEvent<HTMLFormElement>) => {
      event.preventDefault();
      void act(api.answer(run, call, String(new FormData(event.currentTarget).get("answer"))));
    };
    return (
      <form className="decide" onSubmit={send}>
        <p>{wait.text}</p>
        <input name="answer" required autoFocus aria-label="Answer" />
        <button>Answer</button>
        {error && <p className="error">{error}</p>}
      </form>
    );
  }
  const decide = (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const pressed = (event.nativeEvent as SubmitEvent).submitter as HTMLButtonElement;
    const note = String(new FormData(event.currentTarget).get("note"));
    void act(api.decide(run, call, pressed.value, note));
  };
  return (
    <form className="decide" onSubmit={decide}>
      <p>
        <b>{wait.tool}</b> {wait.text}
      </p>
      <pre>{wait.preview ?? JSON.stringify(wait.arguments, null, 2)}</pre>
      <input name="note" placeholder="What the model should know" aria-label="Note" />
      <div className="row">
        <button value="allow">{wait.kind === "in_doubt" ? "Do it again" : "Allow"}</button>
        {wait.kind === "approval" && <button value="allow_for_run">Allow for this run</button>}
        {wait.kind === "in_doubt" && <button value="was_done">It was done</button>}
        <button value="deny">Deny</button>
      </div>
      {error && <p className="error">{error}</p>}
    </form>
  );
}
