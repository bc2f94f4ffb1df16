import { useCallback, useEffect, useState } from "react";

import { type Me, Refused, api } from "./api";
import { Approvals } from "./Approvals";
import { RunView } from "./RunView";
import { Runs } from "./Runs";
import { SignIn } from "./SignIn";

export function App() {
  const [me, setMe] = useState<Me | null>();
  const [error, setError] = useState("");
  const [run, setRun] = useState(location.hash.slice(1));
  const look = useCallback(() => {
    api.me().then(setMe, (why) => {
      if (why instanceof Refused && why.status === 401) setMe(null);
      else setError(String(why.message ?? why));
    });
  }, []);
  useEffect(look, [look]);
  useEffect(() => {
    const follow = () => setRun(location.hash.slice(1));
    addEventListener("hashchange", follow);
    return () => removeEventListener("hashchange", follow);
  }, []);

  if (error) return <p className="error">{error}</p>;
  if (me === undefined) return <p className="quiet">…</p>;
  if (me === null) return <SignIn onDone={look} />;
  return (
    <>
      <header>
        <a href="#">gpak</a>
        <Approvals />
        <span className="quiet">
          {me.name} ({me.role})
        </span>
        <button onClick={() => void api.signOut().finally(look)}>Sign out</button>
      </header>
      <main>
        <Runs chosen={run} canStart={me.role !== "viewer"} />
        {run ? (
          <RunView key={run} id={run} canAct={me.role !== "viewer"} />
        ) : (
          <p className="quiet">Choose a run, or start one.</p>
        )}
      </main>
    </>
  );
}
