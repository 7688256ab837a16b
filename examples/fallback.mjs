// A fallback: an answer that is good enough when the dependency has none.
import { Bulkhead, BulkheadError, withBulkhead } from "bulkman";

const BESTSELLERS = ["Dune", "Emma"];
let isUp = true;

const recommender = new Bulkhead({ name: "recommender", failureThreshold: 2, timeoutSeconds: 1 });
const recommend = withBulkhead(recommender)(async (user) => {
  if (!isUp) throw new Error("connection refused");
  return [`Chosen for ${user}`];
});

const lastKnown = new Map();

async function recommendationsFor(user) {
  try {
    const books = await recommend(user);
    lastKnown.set(user, books);
    return { books, from: "recommender" };
  } catch (error) {
    // Anything else is a mistake of our own, and no fallback may hide it.
    if (!(error instanceof BulkheadError)) throw error;
    const books = lastKnown.get(user);
    const from = `${books ? "last known" : "bestsellers"} (${error.code})`;
    return { books: books ?? BESTSELLERS, from };
  }
}

console.log(await recommendationsFor("Ada"));
isUp = false;
console.log(await recommendationsFor("Ada"));
console.log(await recommendationsFor("Bob"));
console.log(await recommendationsFor("Bob"));
