// Fastify: a plugin turns what bulkheads reject into 503 or 504 with Retry-After, and gives routes a bulkhead of
// their own. There is a health page.
import { withBulkhead } from "bulkman";
import Fastify from "fastify";
import { bulkheads, getHealth, getReport, getUser, reports, toAnswer } from "./users-service.mjs";

async function bulkheadPlugin(app) {
  app.setErrorHandler((error, _request, reply) => {
    const answer = toAnswer(error);
    if (answer === undefined) return reply.send(error);
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  });
  app.addHook("onRoute", (route) => {
    const { bulkhead } = route.config ?? {};
    // "original": the handler's own errors stay what they are.
    if (bulkhead) route.handler = withBulkhead(bulkhead, { errors: "original" })(route.handler);
  });
}
// For the whole app, as with fastify-plugin, and not only for routes that the plugin itself adds.
bulkheadPlugin[Symbol.for("skip-override")] = true;

const app = Fastify();
await app.register(bulkheadPlugin); // before the routes

app.get("/users/:id", (request) => getUser(request.params.id));

app.get("/report", { config: { bulkhead: reports } }, () => getReport());

app.get("/health", (_request, reply) => {
  const { status, body } = getHealth();
  reply.code(status).send(body);
});

app.addHook("onClose", () => bulkheads.shutdown({ drainSeconds: 5 }));
process.once("SIGTERM", () => app.close());

const { PORT = "3000" } = process.env;
console.log("listening on", await app.listen({ port: Number(PORT), host: "127.0.0.1" }));
