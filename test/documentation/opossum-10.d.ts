/** Beside the version that runs on Node.js 20: its newest one, which the documents compare. */
declare module "opossum-10" {
  import CircuitBreaker = require("opossum");
  export = CircuitBreaker;
}
