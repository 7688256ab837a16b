// Fastify: 503 with Retry-After when a bulkhead rejects, and a health page.
import Fastify from "fastify";
import { bulkheads, getHealth, getUser, toAnswer } from "./users-service.mjs";

const app = Fastify();

app.get("/users/:id", (request) => getUser(request.params.id));

app.get("/health", (_request, reply) => {
  const { status, body } = getHealth();
  reply.code(status).send(body);
});

app.setErrorHandler((error, _request, reply) => {
  const answer = toAnswer(error);
  if (answer === undefined) return reply.send(error);
  return reply.code(answer.status).headers(answer.headers).send(answer.body);
});

app.addHook("onClose", () => bulkheads.shutdown({ drainSeconds: 5 }));
process.once("SIGTERM", () => app.close());

const { PORT = "3000" } = process.env;
console.log("listening on", await app.listen({ port: Number(PORT), host: "127.0.0.1" }));
