// The entries of a run as the steps that people see: what was said, thought and called.

import type { Entry } from "./api";

export interface Call {
  id: string;
  tool: string;
  args: unknown;
  state: "made" | "asked" | "running" | "done" | "failed";
  text: string;
  ms?: number;
  /** What the call's tool called. */
  nested: Call[];
}

export type Step =
  | { kind: "said"; seq: number; from: string; text: string }
  | { kind: "reply"; seq: number; thought: string; text: string; calls: Call[] }
  | { kind: "note"; seq: number; text: string };

interface Made {
  name: string;
  args: unknown;
}

interface Outcome {
  status: string;
  message?: string;
  output?: { text: string };
}

/** The steps with one more entry. The state before is not changed. */
export function grown(steps: Step[], entry: Entry): Step[] {
  const { seq, event } = entry;
  const note = (text: string): Step[] => [...steps, { kind: "note", seq, text }];
  switch (event.type) {
    case "run_created": {
      const spec = event.spec as { task: string };
      return [...steps, { kind: "said", seq, from: "user", text: spec.task }];
    }
    case "message_received":
      return [
        ...steps,
        { kind: "said", seq, from: String(event.from), text: String(event.text) },
      ];
    case "memory_recalled": {
      const hits = (event.hits ?? []) as { episode: { text: string } }[];
      const told = hits.map((hit) => hit.episode.text.split("\n")[0]).join(" · ");
      return note(event.failed ? `cannot remember: ${event.failed}` : `remembers ${told}`);
    }
    case "model_replied": {
      const reply = event.reply as { thought?: string; text?: string; calls?: Made[] };
      const number = 1 + steps.filter((step) => step.kind === "reply").length;
      const calls = (reply.calls ?? []).map(
        (call, index): Call => ({
          id: `${number}.${index}`,
          tool: call.name,
          args: call.args,
          state: "made",
          text: "",
          nested: [],
        }),
      );
      return [
        ...steps,
        { kind: "reply", seq, thought: reply.thought ?? "", text: reply.text ?? "", calls },
      ];
    }
    case "tool_started":
      return changed(steps, String(event.call), { state: "running" });
    case "approval_requested":
      return changed(steps, String(event.call), { state: "asked" });
    case "approval_decided":
      return changed(steps, String(event.call), { state: "made" });
    case "tool_finished":
      return changed(steps, String(event.call), ended(event));
    case "nested_called": {
      const made = event.call as Made;
      const id = `${event.by}/${seq}`;
      const nested: Call = { id, tool: made.name, args: made.args, nested: [], ...ended(event) };
      return changed(steps, String(event.by), (call) => ({ nested: [...call.nested, nested] }));
    }
    case "strategy_changed":
      return note(`${event.strategy}: ${event.reason}`);
    case "context_compacted":
      return note("older steps are shown to the model in short from here on");
    case "model_failed":
      return note(`the model failed: ${JSON.stringify(event.error)}`);
    case "run_paused":
      return note(`paused: ${paused(event.reason)}`);
    case "compensated":
      return note(`undone: ${event.text}`);
    case "run_finished": {
      const outcome = event.outcome as { status: string; answer?: string; reason?: string };
      return note([outcome.status, outcome.answer ?? outcome.reason].filter(Boolean).join(": "));
    }
    default:
      return steps;
  }
}

function paused(reason: unknown): string {
  const { kind, message } = reason as { kind: string; message?: string };
  return message ? `${kind}: ${message}` : kind;
}

function ended(event: Entry["event"]): Pick<Call, "state" | "text" | "ms"> {
  const outcome = event.outcome as Outcome;
  const done = outcome.status === "done";
  return {
    state: done ? "done" : "failed",
    text: done ? (outcome.output?.text ?? "") : (outcome.message ?? ""),
    ms: Number(event.ms),
  };
}

type Change = Partial<Call> | ((call: Call) => Partial<Call>);

function changed(steps: Step[], id: string, change: Change): Step[] {
  return steps.map((step) => {
    if (step.kind !== "reply" || !step.calls.some((call) => call.id === id)) return step;
    const changeOf = (call: Call) => (typeof change === "function" ? change(call) : change);
    const calls = step.calls.map((call) =>
      call.id === id ? { ...call, ...changeOf(call) } : call,
    );
    return { ...step, calls };
  });
}
