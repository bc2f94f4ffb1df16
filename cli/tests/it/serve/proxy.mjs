// Passes requests on to URL with the credential KEY, for clients that cannot send one.
import http from "node:http";

const to = new URL(process.env.URL);
const server = http.createServer((request, response) => {
  const headers = { ...request.headers, authorization: `Bearer ${process.env.KEY}` };
  const options = { host: to.hostname, port: to.port, path: request.url, method: request.method, headers };
  const on = http.request(options, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  on.on("error", () => response.destroy());
  response.on("close", () => on.destroy());
  request.pipe(on);
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
