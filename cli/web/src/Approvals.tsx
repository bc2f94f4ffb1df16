import { api } from "./api";
import { usePolled } from "./hooks";

/** Runs that wait for somebody. */
export function Approvals() {
  const { value } = usePolled(api.approvals, 3000);
  if (!value?.length) return <span />;
  return (
    <span className="approvals">
      {value.map((pending) => (
        <a key={`${pending.run} ${pending.call}`} href={`#${pending.root}`} title={pending.task}>
          {pending.tool ?? pending.kind} waits
        </a>
      ))}
    </span>
  );
}
