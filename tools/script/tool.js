// What scripts of packages find beside the prelude: whatever of it was not granted throws.
(() => {
  const ask = (name, input) => JSON.parse(host.call(name, JSON.stringify(input ?? {})));
  // The answer is there when it comes back; whoever awaits it, as elsewhere, gets the same.
  globalThis.fetch = (url, options = {}) => {
    const given = options.headers ?? {};
    const headers = Object.entries(given).map(([name, value]) => ({ name, value: String(value) }));
    const answer = ask("fetch", { url: String(url), method: options.method ?? "GET", headers, body: options.body });
    const found = new Map(answer.headers.map((one) => [one.name.toLowerCase(), one.value]));
    return {
      status: answer.status,
      ok: answer.status >= 200 && answer.status < 300,
      url: answer.url,
      headers: { get: (name) => found.get(String(name).toLowerCase()) ?? null, has: (name) => found.has(String(name).toLowerCase()) },
      text: () => answer.body,
      json: () => JSON.parse(answer.body),
    };
  };
})();
