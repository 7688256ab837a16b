// Express: what bulkheads reject becomes 503 or 504 with Retry-After, a route has a bulkhead of its own, and
// there is a health page.
import { withBulkhead } from "bulkman";
import express from "express";
import { bulkheads, getHealth, getReport, getUser, reports, toAnswer } from "./users-service.mjs";

const app = express();

// Express 5 gives a rejection to the error handler. In Express 4, catch it and call next(error).
app.get("/users/:id", async (request, response) => {
  response.json(await getUser(request.params.id));
});

// A bulkhead for this route. "original": the handler's own errors stay what they are.
const limited = withBulkhead(reports, { errors: "original" });
app.get(
  "/report",
  limited(async (_request, response) => {
    response.json(await getReport());
  }),
);

app.get("/health", (_request, response) => {
  const { status, body } = getHealth();
  response.status(status).json(body);
});

// The middleware, after the routes.
app.use((error, _request, response, next) => {
  const answer = toAnswer(error);
  if (answer === undefined || response.headersSent) return next(error);
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
