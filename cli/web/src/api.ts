// What the page asks the service, and what it is answered. The shapes are those of /openapi.json.

export type Status = "pending" | "running" | "waiting" | "completed" | "failed" | "cancelled";

export interface Summary {
  run: string;
  task: string;
  status: Status;
  created: string;
  updated: string;
  entries: number;
}

export interface Wait {
  kind: "approval" | "in_doubt" | "question" | "message";
  run: string;
  call?: string;
  tool?: string;
  arguments?: unknown;
  text?: string;
  preview?: string;
}

export interface Run {
  id: string;
  status: Status;
  task: string;
  workspace: string;
  model: string;
  created: string;
  updated: string;
  conversation: boolean;
  spent: { steps: number; tokens: number; cost: number; wall_ms: number };
  answer?: string;
  waits: Wait[];
}

export interface Pending extends Wait {
  root: string;
  task: string;
}

export interface Me {
  name: string;
  role: "viewer" | "operator" | "admin";
}

/** An entry of a run's journal: an event with its number and time. */
export interface Entry {
  run: string;
  seq: number;
  time: string;
  event: { type: string; [field: string]: unknown };
}

/** A refusal, in words (RFC 9457). */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

async function ask<T>(method: string, path: string, body?: unknown): Promise<T> {
  const said = await fetch(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? null : JSON.stringify(body),
  });
  if (!said.ok) {
    const problem = await said.json().catch(() => ({}));
    const words = [problem.detail ?? problem.title ?? said.statusText, problem.help];
    throw new Refused(said.status, words.filter(Boolean).join(" – "));
  }
  const text = await said.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

export const api = {
  me: () => ask<Me>("GET", "/api/v1/me"),
  signIn: (user: string, password: string) => ask("POST", "/auth/session", { user, password }),
  signOut: () => ask("DELETE", "/auth/session"),
  runs: (status: Status | "", after?: string) => {
    const asked = new URLSearchParams({ limit: "50" });
    if (status) asked.set("status", status);
    if (after) asked.set("after", after);
    return ask<{ runs: Summary[]; next?: string }>("GET", `/api/v1/runs?${asked}`);
  },
  run: (id: string) => ask<Run>("GET", `/api/v1/runs/${id}`),
  start: (task: string, workspace: string, conversation: boolean) =>
    ask<Run>("POST", "/api/v1/runs", {
      task,
      conversation,
      ...(workspace ? { workspace } : {}),
    }),
  say: (id: string, text: string) => ask("POST", `/api/v1/runs/${id}/messages`, { text }),
  cancel: (id: string) => ask("POST", `/api/v1/runs/${id}/cancel`),
  resume: (id: string) => ask("POST", `/api/v1/runs/${id}/resume`, {}),
  undo: (id: string) =>
    ask<{ restored: string[]; refused: string[] }>("POST", `/api/v1/runs/${id}/undo`),
  approvals: () => ask<Pending[]>("GET", "/api/v1/approvals"),
  decide: (run: string, call: string, decision: string, note: string) =>
    ask("POST", `/api/v1/approvals/${run}/${call}`, { decision, note }),
  answer: (run: string, call: string, answer: string) =>
    ask("POST", `/api/v1/approvals/${run}/${call}`, { answer }),
};
