import { type FormEvent, useState } from "react";

import { api } from "./api";

export function SignIn({ onDone }: { onDone: () => void }) {
  const [error, setError] = useState("");
  const send = async (event: FormEvent<HTMLFormElement>) => {
    event.preventDefault();
    const said = new FormData(event.currentTarget);
    try {
      await api.signIn(String(said.get("user")), String(said.get("password")));
      onDone();
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    }
  };
  return (
    <form className="signin" onSubmit={(event) => void send(event)}>
      <h1>gpak</h1>
      <label>
        User
        <input name="user" autoComplete="username" required autoFocus />
      </label>
      <label>
        Password
        <input name="password" type="password" autoComplete="current-password" required />
      </label>
      <button>Sign in</button>
      {error && (
        <p className="error" role="alert">
          {error}
        </p>
      )}
      <p className="quiet">
        Without a password: open the link that <code>gpak serve</code> printed, or the one that{" "}
        <code>gpak serve link</code> prints.
      </p>
    </form>
  );
}
