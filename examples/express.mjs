// Express: 503 with Retry-After when a bulkhead rejects, and a health page.
import express from "express";
import { bulkheads, getHealth, getUser, toAnswer } from "./users-service.mjs";

const app = express();

// Express 5 gives a rejection to the error handler. In Express 4, catch it and call next(error).
app.get("/users/:id", async (request, response) => {
  response.json(await getUser(request.params.id));
});

app.get("/health", (_request, response) => {
  const { status, body } = getHealth();
  response.status(status).json(body);
});

app.use((error, _request, response, next) => {
  const answer = toAnswer(error);
  if (answer === undefined) return next(error);
  response.status(answer.status).set(answer.headers).json(answer.body);
});

const { PORT = "3000" } = process.env;
const server = app.listen(Number(PORT), "127.0.0.1", () => {
  console.log("listening on", `http://127.0.0.1:${server.address().port}`);
});
process.once("SIGTERM", async () => {
  server.close();
  await bulkheads.shutdown({ drainSeconds: 5 });
});
