import { useCallback, useEffect, useRef, useState } from "react";

import type { Entry } from "./api";
import { type Step, grown } from "./tree";

/** Asks again and again, while the page is looked at; `now` asks at once. */
export function usePolled<T>(ask: () => Promise<T>, every: number) {
  const [value, setValue] = useState<T>();
  const [error, setError] = useState("");
  const latest = useRef(ask);
  latest.current = ask;
  const now = useCallback(async () => {
    try {
      setValue(await latest.current());
      setError("");
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    }
  }, []);
  useEffect(() => {
    void now();
    const timer = setInterval(() => {
      if (!document.hidden) void now();
    }, every);
    return () => clearInterval(timer);
  }, [now, every]);
  return { value, error, now };
}

/** The steps of a run as they come. The browser goes on where a stream was cut. */
export function useSteps(run: string, onEntry: () => void) {
  const [steps, setSteps] = useState<Step[]>([]);
  const told = useRef(onEntry);
  told.current = onEntry;
  useEffect(() => {
    setSteps([]);
    let last = 0;
    const events = new EventSource(`/api/v1/runs/${run}/events`);
    events.addEventListener("entry", (event) => {
      const entry = JSON.parse(event.data) as Entry;
      if (entry.seq <= last) return;
      last = entry.seq;
      setSteps((steps) => grown(steps, entry));
      told.current();
    });
    return () => events.close();
  }, [run]);
  return steps;
}
