/** A request's body that can fail by itself: that is no fault of the server. */
export class RequestBody {
  readonly #stream: object | undefined;
  readonly #chunks: AsyncIterable<unknown> | undefined;
  #thrown: { readonly error: unknown } | undefined = undefined;

  private constructor(stream: object | undefined, chunks: Chunks | undefined) {
    this.#stream = stream;
    this.#chunks = chunks && this.#watch(chunks);
  }

  /** @returns `undefined` for a body that cannot fail, such as text, and for none */
  static of(body: unknown): RequestBody | undefined {
    if (typeof body !== "object" || body === null || ArrayBuffer.isView(body)) return undefined;
    if (isStream(body)) return new RequestBody(body, undefined);
    return isChunks(body) ? new RequestBody(undefined, body) : undefined;
  }

  /** What is to be sent instead; `undefined` when it is the body itself. */
  get replacement(): AsyncIterable<unknown> | undefined {
    return this.#chunks;
  }

  /** Whether the error came from the body. */
  hasThrown(error: unknown): boolean {
    if (this.#thrown !== undefined) return this.#thrown.error === error;
    return this.#stream !== undefined && Reflect.get(this.#stream, "errored") === error;
  }

  #watch(chunks: Chunks): AsyncIterable<unknown> {
    const record = (error: unknown) => {
      this.#thrown = { error };
      throw error;
    };
    return {
      async *[Symbol.asyncIterator]() {
        try {
          yield* chunks;
        } catch (error) {
          record(error);
        }
      },
    };
  }
}

type Chunks = AsyncIterable<unknown> | Iterable<unknown>;

function isStream(body: object): boolean {
  return (
    typeof Reflect.get(body, "pipe") === "function" && typeof Reflect.get(body, "on") === "function"
  );
}

/** A FormData is iterable, too, but that is not how it is sent. */
function isChunks(body: object): body is Chunks {
  if (typeof Reflect.get(body, Symbol.asyncIterator) === "function") return true;
  return (
    typeof Reflect.get(body, Symbol.iterator) === "function" &&
    typeof Reflect.get(body, "append") !== "function"
  );
}
