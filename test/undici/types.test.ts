import {
  Agent as Agent7,
  type Dispatcher as Dispatcher7,
  type fetch as fetch7,
  type request as request7,
} from "undici-7";
import { expectTypeOf, it } from "vitest";
import { guardDispatcher, guardInterceptor } from "../../src/undici/index.js";

it("has the types of the dispatcher that is guarded, and of an interceptor of undici", () => {
  const guarded = guardDispatcher({ dispatcher: new Agent7() });
  expectTypeOf(guarded).toExtend<Dispatcher7>();
  expectTypeOf(guarded).toExtend<NonNullable<Parameters<typeof request7>[1]>["dispatcher"]>();
  expectTypeOf(guarded).toExtend<NonNullable<Parameters<typeof fetch7>[1]>["dispatcher"]>();
  expectTypeOf(guardInterceptor()).toExtend<Dispatcher7.DispatcherComposeInterceptor>();
});
