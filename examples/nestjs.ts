// NestJS: a module that ends bulkheads with the app, a filter that turns what they reject into 503 or 504 with
// Retry-After, and decorated methods. Compiled with experimentalDecorators and emitDecoratorMetadata.
import "reflect-metadata";
import {
  type ArgumentsHost,
  Catch,
  Controller,
  type DynamicModule,
  type ExceptionFilter,
  Get,
  Inject,
  Injectable,
  Module,
  type OnApplicationShutdown,
  Param,
  Res,
} from "@nestjs/common";
import { APP_FILTER, NestFactory } from "@nestjs/core";
import { Bulkhead, BulkheadError, BulkheadTimeoutError, withBulkhead } from "bulkman";

/** The answer of Express or Fastify, as far as it is used here. */
interface Answer {
  status(code: number): this;
  header(name: string, value: string): this;
  send(body: unknown): void;
}

@Catch(BulkheadError)
class BulkheadFilter implements ExceptionFilter {
  catch(error: BulkheadError, host: ArgumentsHost): void {
    const answer = host.switchToHttp().getResponse<Answer>();
    const failed = error.code === "ERR_BULKHEAD"; // the method threw error.cause
    const status = failed ? 502 : error instanceof BulkheadTimeoutError ? 504 : 503;
    if (!failed) {
      const seconds = "retryAfterSeconds" in error ? Math.ceil(Number(error.retryAfterSeconds)) : 1;
      answer.header("Retry-After", String(Math.max(1, seconds)));
    }
    answer.status(status).send({ error: error.code });
  }
}

const BULKHEADS = Symbol("bulkheads");

@Module({})
class BulkheadModule implements OnApplicationShutdown {
  static of(...bulkheads: Bulkhead[]): DynamicModule {
    const provider = { provide: BULKHEADS, useValue: bulkheads };
    const filter = { provide: APP_FILTER, useClass: BulkheadFilter };
    return { module: BulkheadModule, providers: [provider, filter], exports: [provider] };
  }

  constructor(@Inject(BULKHEADS) private readonly bulkheads: Bulkhead[]) {}

  async onApplicationShutdown(): Promise<void> {
    await Promise.all(this.bulkheads.map((bulkhead) => bulkhead.shutdown({ drainSeconds: 5 })));
  }
}

const users = new Bulkhead({
  name: "users",
  maxConcurrentCalls: 2,
  maxQueueSize: 2,
  timeoutSeconds: 2,
  failureThreshold: 3,
});
const reports = new Bulkhead({
  name: "reports",
  maxConcurrentCalls: 1,
  maxQueueSize: 0,
  circuitBreakerEnabled: false, // it limits our own work, which is no dependency
});

@Injectable()
class UsersService {
  @withBulkhead(users)
  async find(id: string): Promise<{ name: string }> {
    const url = new URL(`/users/${encodeURIComponent(id)}`, process.env["API_URL"]);
    // A decorated method gets no signal of its bulkhead: without this limit a request would go on, and keep its
    // permit, after the time is up; a little longer, so that the bulkhead is the first to answer. Where that matters, call
    // users.run() in the method.
    const response = await fetch(url, { signal: AbortSignal.timeout(2500) });
    if (!response.ok) {
      await response.body?.cancel();
      throw new Error(`status ${response.status}`);
    }
    return response.json();
  }
}

@Controller()
class UsersController {
  constructor(
    private readonly service: UsersService,
    @Inject(BULKHEADS) private readonly bulkheads: Bulkhead[],
  ) {}

  @Get("users/:id")
  user(@Param("id") id: string): Promise<{ name: string }> {
    return this.service.find(id);
  }

  // A bulkhead for one route; above or below the other decorators.
  @withBulkhead(reports, { errors: "original" })
  @Get("report")
  async report(): Promise<{ best: string }> {
    const { name } = await this.service.find("1");
    return { best: name };
  }

  @Get("health")
  health(@Res() answer: Answer): void {
    const health = this.bulkheads.map((bulkhead) => [bulkhead.name, bulkhead.isHealthy()] as const);
    const status = health.every(([, isHealthy]) => isHealthy) ? 200 : 503;
    answer.status(status).send(Object.fromEntries(health));
  }
}

@Module({
  imports: [BulkheadModule.of(users, reports)],
  controllers: [UsersController],
  providers: [UsersService],
})
class AppModule {}

const app = await NestFactory.create(AppModule, { logger: false });
app.enableShutdownHooks();
await app.listen(Number(process.env["PORT"] ?? "3000"), "127.0.0.1");
console.log("listening on", await app.getUrl());
